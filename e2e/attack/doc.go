// Package attack tries on the built gateway what has broken others of its kind: two replicas on one Redis, in front of
// an upstream that writes down every byte that reaches it. The name of a test begins with the number of its case.
package attack
