"""The stack on one machine: a broker and an S3 server as processes of their own, and the folder that knows them."""
