-- How many nodes each has connections with, itself among them: of two parts of a cluster the greater goes on.
ALTER TABLE nodes ADD COLUMN reaches INTEGER NOT NULL DEFAULT 1;
