"""The store on Redis or Valkey, for many machines on one server. Each verb is one script that runs completely or not at all."""
