-- Something small on the way, for whoever waits.  3 id, 4 event type, 5 data (JSON)
return emit(ARGV[3], ARGV[4], ARGV[5])
