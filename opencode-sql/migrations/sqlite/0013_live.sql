-- Nodes tell each other of running turns on Postgres alone: what is in the file of the same name is not needed here.

INSERT INTO opencode_migrations (version, name) VALUES (13, 'live');
