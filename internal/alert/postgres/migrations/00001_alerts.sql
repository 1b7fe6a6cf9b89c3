-- +goose Up
CREATE TABLE alerts (
	id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	user_id      text NOT NULL,
	symbol       text NOT NULL,
	bucket       smallint NOT NULL,
	spec         text NOT NULL, -- JSON, as requests have it: numbers stay as they are.
	repeats      boolean NOT NULL,
	state        text NOT NULL,
	created      bigint NOT NULL, -- All times are Unix milliseconds.
	arm          bigint NOT NULL,
	armed        bigint NOT NULL,
	side         smallint NOT NULL,
	expires      bigint NOT NULL, -- 0 is never.
	deleted      bigint NOT NULL DEFAULT 0,
	fired_number bigint NOT NULL DEFAULT 0,
	fired_arm    bigint NOT NULL DEFAULT 0,
	fired_at     bigint NOT NULL DEFAULT 0,
	fired_price  text NOT NULL DEFAULT '0',
	fired_by     text NOT NULL DEFAULT '',
	fired_stored bigint NOT NULL DEFAULT 0,
	changed      xid8 NOT NULL DEFAULT pg_current_xact_id() -- The transaction that changed it last.
);
CREATE INDEX alerts_of_user ON alerts (user_id, id);
CREATE INDEX alerts_alive ON alerts (user_id) WHERE state IN ('active', 'waiting');
CREATE INDEX alerts_alive_of_bucket ON alerts (bucket, id) WHERE state IN ('active', 'waiting');
CREATE INDEX alerts_changed ON alerts (bucket, changed);
CREATE INDEX alerts_expire ON alerts (expires) WHERE expires > 0 AND state IN ('active', 'waiting');
CREATE INDEX alerts_deleted ON alerts (deleted) WHERE state = 'deleted';

-- number is that of the newest firing, published the one that the user's topic has, trimmed the last one that is gone.
CREATE TABLE alert_users (
	user_id   text PRIMARY KEY,
	number    bigint NOT NULL DEFAULT 0,
	published bigint NOT NULL DEFAULT 0,
	trimmed   bigint NOT NULL DEFAULT 0
);
CREATE INDEX alert_users_unpublished ON alert_users (user_id) WHERE number > published;

CREATE TABLE alert_firings (
	user_id text NOT NULL,
	number  bigint NOT NULL,
	alert   bigint NOT NULL,
	arm     bigint NOT NULL,
	at      bigint NOT NULL,
	price   text NOT NULL,
	by      text NOT NULL,
	stored  bigint NOT NULL,
	spec    text NOT NULL,
	PRIMARY KEY (user_id, number)
);

CREATE TABLE alert_keys (
	user_id text NOT NULL,
	key     text NOT NULL,
	alert   bigint NOT NULL,
	spec    text NOT NULL,
	created bigint NOT NULL,
	PRIMARY KEY (user_id, key)
);
CREATE INDEX alert_keys_created ON alert_keys (created);

CREATE TABLE alert_positions (
	symbol text PRIMARY KEY,
	bucket smallint NOT NULL,
	at     bigint NOT NULL
);
CREATE INDEX alert_positions_bucket ON alert_positions (bucket);

CREATE TABLE alert_leases (
	bucket smallint PRIMARY KEY,
	owner  text NOT NULL DEFAULT '',
	until  bigint NOT NULL DEFAULT 0
);
INSERT INTO alert_leases (bucket) SELECT generate_series(0, 63);

CREATE TABLE alert_owners (
	owner text PRIMARY KEY,
	until bigint NOT NULL
);

-- +goose Down
DROP TABLE alerts, alert_users, alert_firings, alert_keys, alert_positions, alert_leases, alert_owners;
