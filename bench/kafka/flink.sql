CREATE TABLE events (
  user_id BIGINT,
  property_id BIGINT,
  `date` TIMESTAMP(3),
  event STRING,
  WATERMARK FOR `date` AS `date` - INTERVAL '1' HOUR
) WITH (
  'connector' = 'kafka',
  'topic' = 'Events',
  'properties.bootstrap.servers' = '${BROKER}',
  'properties.isolation.level' = 'read_committed',
  'properties.max.poll.records' = '20000',
  'scan.startup.mode' = 'earliest-offset',
  'scan.bounded.mode' = 'latest-offset',
  'format' = 'json',
  'json.timestamp-format.standard' = 'SQL'
);

CREATE CATALOG ice WITH ('type' = 'iceberg', 'catalog-type' = 'hadoop', 'warehouse' = 'file://${OUT}');

CREATE DATABASE ice.bench;

CREATE TABLE ice.bench.events (
  user_id BIGINT,
  property_id BIGINT,
  `date` TIMESTAMP(6),
  event STRING,
  dt DATE
) PARTITIONED BY (dt) WITH (
  'format-version' = '2',
  'write.parquet.compression-codec' = 'zstd',
  'write.distribution-mode' = 'none'
);

CREATE TABLE paid_user (`user` BIGINT, n BIGINT, PRIMARY KEY (`user`) NOT ENFORCED) WITH (
  'connector' = 'upsert-kafka', 'topic' = '${PREFIX}paid_user', 'properties.bootstrap.servers' = '${BROKER}',
  'key.format' = 'json', 'value.format' = 'json'
);

CREATE TABLE property_status (property BIGINT, n BIGINT, PRIMARY KEY (property) NOT ENFORCED) WITH (
  'connector' = 'upsert-kafka', 'topic' = '${PREFIX}property_status', 'properties.bootstrap.servers' = '${BROKER}',
  'key.format' = 'json', 'value.format' = 'json'
);

CREATE TABLE possible_broker (w TIMESTAMP(3), user_id BIGINT, n BIGINT) WITH (
  'connector' = 'kafka', 'topic' = '${PREFIX}possible_broker', 'properties.bootstrap.servers' = '${BROKER}',
  'format' = 'json', 'json.timestamp-format.standard' = 'SQL'
);

EXECUTE STATEMENT SET BEGIN
  INSERT INTO ice.bench.events
  SELECT user_id, property_id, CAST(`date` AS TIMESTAMP(6)), event, CAST(`date` AS DATE) FROM events;
  INSERT INTO paid_user
  SELECT user_id, COUNT(*) FROM events WHERE event = 'Interaction' GROUP BY user_id HAVING COUNT(*) >= 9;
  INSERT INTO property_status
  SELECT property_id, COUNT(*) FROM events WHERE event = 'Interaction' GROUP BY property_id HAVING COUNT(*) > 5;
  INSERT INTO possible_broker
  SELECT window_start, user_id, COUNT(*) FROM TABLE(TUMBLE(TABLE events, DESCRIPTOR(`date`), INTERVAL '1' MINUTE))
  WHERE event = 'Interaction' GROUP BY window_start, window_end, user_id HAVING COUNT(*) > 10;
END
