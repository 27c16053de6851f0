BEGIN TRANSACTION;
CREATE TABLE assessor_assignments (
	id INTEGER NOT NULL,
	item_id INTEGER NOT NULL,
	assessor_id INTEGER NOT NULL,
	answered BOOLEAN NOT NULL,
	expires FLOAT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (item_id, assessor_id),
	FOREIGN KEY(item_id) REFERENCES assessor_items (id),
	FOREIGN KEY(assessor_id) REFERENCES assessor_people (id)
);
INSERT INTO "assessor_assignments" VALUES(1,1,1,1,1.79546652119476675985e+09);
CREATE TABLE assessor_items (
	id INTEGER NOT NULL,
	question_id INTEGER NOT NULL,
	left_id INTEGER NOT NULL,
	right_id INTEGER,
	repetition INTEGER NOT NULL,
	kind VARCHAR(16) NOT NULL,
	gold VARCHAR(16),
	wanted INTEGER NOT NULL,
	answered INTEGER NOT NULL,
	priority FLOAT NOT NULL,
	PRIMARY KEY (id),
	FOREIGN KEY(question_id) REFERENCES assessor_questions (id),
	FOREIGN KEY(left_id) REFERENCES assessor_samples (id),
	FOREIGN KEY(right_id) REFERENCES assessor_samples (id)
);
INSERT INTO "assessor_items" VALUES(1,1,1,2,0,'random',NULL,1,1,0.0);
INSERT INTO "assessor_items" VALUES(2,1,3,4,0,'random',NULL,1,0,0.0);
CREATE TABLE assessor_people (
	id INTEGER NOT NULL,
	name VARCHAR(64) NOT NULL,
	token_digest VARCHAR(64),
	PRIMARY KEY (id),
	UNIQUE (name),
	UNIQUE (token_digest)
);
INSERT INTO "assessor_people" VALUES(1,'anna','26a3de95978975f9e9934aec373f8a116967708074a73c765d26d5894f1f4e23');
CREATE TABLE assessor_questions (
	id INTEGER NOT NULL,
	text TEXT NOT NULL,
	form VARCHAR(16) NOT NULL,
	domain VARCHAR(16) NOT NULL,
	PRIMARY KEY (id)
);
INSERT INTO "assessor_questions" VALUES(1,'"Which?"','pair','text');
CREATE TABLE assessor_ratings (
	id INTEGER NOT NULL,
	assignment_id INTEGER NOT NULL,
	assessor_id INTEGER NOT NULL,
	answer VARCHAR(16) NOT NULL,
	note TEXT NOT NULL,
	at FLOAT NOT NULL,
	"key" VARCHAR(64),
	withdrawn BOOLEAN NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (assessor_id, "key"),
	FOREIGN KEY(assignment_id) REFERENCES assessor_assignments (id),
	FOREIGN KEY(assessor_id) REFERENCES assessor_people (id)
);
INSERT INTO "assessor_ratings" VALUES(1,1,1,'left','""',1.79546622117663645743e+09,'k1',1);
INSERT INTO "assessor_ratings" VALUES(2,1,1,'right','"hm"',1.79546622121720767014e+09,'k2',0);
CREATE TABLE assessor_samples (
	id INTEGER NOT NULL,
	digest VARCHAR(64) NOT NULL,
	text TEXT NOT NULL,
	PRIMARY KEY (id),
	UNIQUE (digest)
);
INSERT INTO "assessor_samples" VALUES(1,'67b558c37f0dd74ce0602052e9152661f04408d758e7be9dda41f201dc0b6c67','"a"');
INSERT INTO "assessor_samples" VALUES(2,'16de5bf7cb0e524b200876cd418a351bf22ce692d4309230e51e0a8b2f2cc314','"b\u0000"');
INSERT INTO "assessor_samples" VALUES(3,'9c51d26b226c2406da2dacc9d6da2169081e73c3563ce4eaa9ec3cd8ecd48aa8','"c"');
INSERT INTO "assessor_samples" VALUES(4,'7986fa0af6c44fa4212b710888a2aa3a358d8d3284b1c2ef69db9ecd52e3454d','"d"');
CREATE TABLE assessor_store (
	version INTEGER NOT NULL
);
INSERT INTO "assessor_store" VALUES(1);
CREATE UNIQUE INDEX assessor_items_once ON assessor_items (question_id, left_id, coalesce(right_id, 0), repetition);
CREATE INDEX assessor_items_waiting ON assessor_items (question_id, priority) WHERE answered < wanted;
CREATE INDEX assessor_assignments_of ON assessor_assignments (assessor_id, answered);
CREATE UNIQUE INDEX assessor_ratings_once ON assessor_ratings (assignment_id) WHERE withdrawn IS 0;
COMMIT;
