"""What supervised learners reach, beside the limit where it is known: a file for each family."""
