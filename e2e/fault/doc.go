// Package fault breaks what the built gateway stands on while it serves: the wire to Redis, Redis itself, the master
// of a failover or a Cluster, the keys, the disk. Each fault must end in "closed" or "as before": nothing is let in
// that was not let in before, nothing is accepted twice, and what was well before is well again by itself.
//
// It is not a library: it has only tests.
package fault
