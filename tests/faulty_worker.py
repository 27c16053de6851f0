"""A worker that breaks the protocol in the way that its first argument says; see MODES' names.

The score of a text is its length. Faults that happen once leave a mark in the file of the second
argument.
"""

import json
import os
import sys
import time
from collections.abc import Callable

TEN_MB = 10_000_000


def say(message: object) -> None:
    print(json.dumps(message), flush=True)


def answer(number: int, texts: list[str]) -> dict[str, object]:
    return {"id": number, "scores": [float(len(text)) for text in texts], "errors": {}}


def first_time() -> bool:
    mark = sys.argv[2]
    found = os.path.exists(mark)
    with open(mark, "a", encoding="utf-8") as file:
        file.write("x")
    return not found


def dies_once(number: int, texts: list[str]) -> None:
    if first_time():
        os._exit(7)
    say(answer(number, texts))


def dies_over_bb(number: int, texts: list[str]) -> None:
    if "bb" in texts:
        print("bb is too much for me", file=sys.stderr, flush=True)
        os._exit(7)
    say(answer(number, texts))


def hangs_over_bb(number: int, texts: list[str]) -> None:
    if "bb" in texts:
        time.sleep(1000)
    say(answer(number, texts))


def prints_garbage(number: int, texts: list[str]) -> None:
    print("loading tables ...\n[1, 2]\n{not json\n" + "[" * 100_000, flush=True)
    say({"progress": 0.5})
    say(answer(number, texts))
    print("done", flush=True)


def answers_twice(number: int, texts: list[str]) -> None:
    say(answer(number, texts))
    say({"id": number, "scores": [99.0] * len(texts)})


def answers_out_of_order(number: int, texts: list[str]) -> None:
    say({"id": number + 1, "scores": [99.0] * len(texts)})
    say(answer(number, texts))
    say({"id": number + 1, "scores": [98.0] * len(texts)})


def answers_a_wrong_id(number: int, texts: list[str]) -> None:
    say(answer(number + 1000, texts))
    say(answer(-number, texts) | {"id": str(number)})
    say({"id": True, "scores": [99.0] * len(texts)})


def draws_a_bar(number: int, texts: list[str]) -> None:
    """Progress on standard error, over and over in one line."""
    print("loading: 100 %\r" * 350_000, file=sys.stderr, flush=True)
    say(answer(number, texts))


def answers_10_mb(number: int, texts: list[str]) -> None:
    say(answer(number, texts) | {"debug": "x" * TEN_MB})


def prints_10_mb_of_lines(number: int, texts: list[str]) -> None:
    print("\n".join(["x" * 99] * (TEN_MB // 100)), flush=True)
    say(answer(number, texts))


def answers_with_another_length(number: int, texts: list[str]) -> None:
    say({"id": number, "scores": [1.0]})


def answers_with_strings(number: int, texts: list[str]) -> None:
    say({"id": number, "scores": ["high"] * len(texts)})


def reports_errors(number: int, texts: list[str]) -> None:
    scores = [None if text in ("bb", "?") else float(len(text)) for text in texts]
    errors = {str(i): "no bb" for i, text in enumerate(texts) if text == "bb"}
    say({"id": number, "scores": scores, "errors": errors})


def reports_errors_of_others(number: int, texts: list[str]) -> None:
    say(answer(number, texts) | {"errors": {str(len(texts)): "who?"}})


def starts_a_child(number: int, texts: list[str]) -> None:
    """A child that holds the pipes open and does not end by itself; hangs over bb."""
    if os.fork() == 0:
        with open(sys.argv[2], "a", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(1000)
    hangs_over_bb(number, texts)


def answers(number: int, texts: list[str]) -> None:
    say(answer(number, texts))


def main() -> None:
    mode = sys.argv[1]
    if mode == "exits_at_start":
        sys.exit("no licence for this machine")
    if mode == "other_protocol":
        say({"protocol": 2, "name": "faulty", "range": [0, 1]})
    elif mode == "nameless":
        say({"protocol": 1})
    elif mode == "empty_range":
        say({"protocol": 1, "name": "faulty", "range": [1, 0]})
    elif mode != "says_nothing":
        say({"protocol": 1, "name": "faulty", "range": [0, None]})
    if mode == "never_reads":
        time.sleep(1000)
    for line in sys.stdin:
        request = json.loads(line)
        respond: Callable[[int, list[str]], None] = globals()[mode]
        respond(request["id"], request["sequences"])


if __name__ == "__main__":
    main()
