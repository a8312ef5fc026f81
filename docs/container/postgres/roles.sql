-- The mirror's owner and its readers. Postgres runs this when it initializes its data.
\set mirror_password `sed -n 's/^password=//p' /run/secrets/mirror_service`
\set reader_password `cat /run/secrets/reader_password`
CREATE ROLE mirror LOGIN PASSWORD :'mirror_password';
CREATE ROLE reader LOGIN PASSWORD :'reader_password';
CREATE DATABASE mirror OWNER mirror;
REVOKE ALL ON DATABASE mirror, postgres, template1 FROM public;
GRANT CONNECT ON DATABASE mirror TO reader;
