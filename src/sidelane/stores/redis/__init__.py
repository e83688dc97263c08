"""The store on Redis or Valkey: many machines on one server, each verb one script that runs as a whole or not at all."""
