-- Every column type with the values that codecs get wrong. One statement ends with a semicolon at the end of a line.
SET sql_mode = '';
SET time_zone = '+05:30';
CREATE TABLE types.wide (
  id INT NOT NULL PRIMARY KEY,
  tiny TINYINT NULL, tiny_unsigned TINYINT UNSIGNED NULL, truth BOOL NULL,
  small SMALLINT NULL, small_unsigned SMALLINT UNSIGNED NULL,
  medium MEDIUMINT NULL, medium_unsigned MEDIUMINT UNSIGNED NULL,
  whole INT NULL, whole_unsigned INT UNSIGNED NULL,
  big BIGINT NULL, big_unsigned BIGINT UNSIGNED NULL,
  bit_1 BIT(1) NULL, bit_17 BIT(17) NULL, bit_64 BIT(64) NULL,
  single FLOAT NULL, twofold DOUBLE NULL,
  money DECIMAL(5,2) NULL, wide_decimal DECIMAL(65,30) NULL, whole_decimal DECIMAL(65,0) NULL,
  year_of YEAR NULL, day DATE NULL,
  time_0 TIME NULL, time_2 TIME(2) NULL, time_6 TIME(6) NULL,
  moment_0 DATETIME NULL, moment_3 DATETIME(3) NULL, moment_6 DATETIME(6) NULL,
  stamp_0 TIMESTAMP NULL, stamp_3 TIMESTAMP(3) NULL, stamp_6 TIMESTAMP(6) NULL,
  fixed CHAR(12) NULL, text_utf8 VARCHAR(200) NULL,
  text_latin1 VARCHAR(50) CHARACTER SET latin1 NULL, text_gbk VARCHAR(50) CHARACTER SET gbk NULL,
  text_tiny TINYTEXT NULL, text_plain TEXT NULL, text_medium MEDIUMTEXT NULL, text_long LONGTEXT NULL,
  bytes_fixed BINARY(8) NULL, bytes_var VARBINARY(100) NULL,
  blob_tiny TINYBLOB NULL, blob_plain BLOB NULL, blob_medium MEDIUMBLOB NULL, blob_long LONGBLOB NULL,
  size ENUM('small', 'medium', 'größe') NULL, flags SET('a', 'b', 'c', 'é') NULL,
  document JSON NULL, shape GEOMETRY NULL, spot POINT SRID 4326 NULL
);
CREATE TABLE types.pair (
  code VARCHAR(20) CHARACTER SET latin1 NOT NULL, number BIGINT UNSIGNED NOT NULL, note VARCHAR(50) NULL,
  PRIMARY KEY (number, code)
);
CREATE TABLE types.bytes_key (id VARBINARY(16) NOT NULL PRIMARY KEY, note VARCHAR(20) NULL);
INSERT INTO types.wide (id) VALUES (1);
INSERT INTO types.wide VALUES (2,
  -128, 255, TRUE, -32768, 65535, -8388608, 16777215, -2147483648, 4294967295, -9223372036854775808, 18446744073709551615,
  b'1', b'10000000000000001', b'1111111111111111111111111111111111111111111111111111111111111111',
  -3.4028235e38, 2.2250738585072014e-308,
  -999.99, 12345678901234567890123456789012345.123456789012345678901234567891, -99999999999999999999999999999999999999999999999999999999999999999,
  2155, '9999-12-31', '-838:59:59', '-00:00:00.01', '-12:34:56.000001',
  '9999-12-31 23:59:59', '1000-01-01 00:00:00.001', '9999-12-31 23:59:59.999999',
  '2038-01-19 08:44:07', '2024-02-29 17:30:00.120', '1970-01-01 05:30:01.000001',
  'trailing', 'emoji 😀 👩‍👩‍👧', 'café ÿ €', '你好 嗨', '', 'quote '' backslash \\ tab \t', REPEAT('é', 70000), 'null \0 inside',
  'ab', x'00FF00', '', x'80', x'DEADBEEF', 'x',
  'größe', 'a,c,é', '{"big": 18446744073709551615, "neg": -9223372036854775808, "list": [1, 2.5, null, true, "é\\"x"], "none": {}}',
  ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POINT(48.5 9.25)', 4326));
INSERT INTO types.wide VALUES (3,
  -1, 0, FALSE, -1, 0, -1, 0, -1, 0, -1, 0,
  b'0', b'0', b'1000000000000000000000000000000000000000000000000000000000000000',
  1.5, -0e0,
  0, 0, 0,
  0, '0000-00-00', '00:00:00', '-838:59:58.99', '838:59:59.000000',
  '0000-00-00 00:00:00', '2024-00-00 00:00:00.000', '0000-00-00 00:00:00.000000',
  '0000-00-00 00:00:00', '0000-00-00 00:00:00.000', '0000-00-00 00:00:00.000000',
  '', '', '', '', '', '', '', '',
  '', '', '', '', '', '',
  'not a member', '', '"text"',
  ST_GeomFromText('GEOMETRYCOLLECTION(POINT(0 0),LINESTRING(0 0,1 1))'), ST_GeomFromText('POINT(0 0)', 4326));
INSERT INTO types.wide (id, blob_long) VALUES (4, REPEAT(UNHEX(SHA2('mysync', 512)), 114688));
INSERT INTO types.wide (id, text_utf8, whole) VALUES (5, 'gone soon', 5), (6, 'gets another key', 6), (7, 'becomes null', 7);
UPDATE types.wide SET text_utf8 = NULL, whole = NULL, medium = -7, time_2 = '-01:02:03.40' WHERE id = 7;
UPDATE types.wide SET id = 60 WHERE id = 6;
DELETE FROM types.wide WHERE id = 5;
INSERT INTO types.pair VALUES ('plain', 1, NULL), ('a:b%c', 18446744073709551615, ''), ('café', 2, 'latin1 key');
UPDATE types.pair SET code = 'x:y' WHERE number = 1;
INSERT INTO types.bytes_key VALUES (x'00FF3A', 'binary key'), (x'', 'empty key');
