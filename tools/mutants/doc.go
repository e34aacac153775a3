// Command mutants takes the gateway's defences out, one at a time, and demands that a test notices.
//
// A mutant is a small change of the source that removes one defence, with the test that is there for it. The change
// is laid over the tree by the go command (-overlay), so the tree itself is never written to. A mutant is killed where
// its test fails, while the same test passes on the source as it is. Everything else is an error: a mutant that
// survives, one that does not compile, one whose lines are no longer in the source, a test that is not there or hangs.
//
//	go run ./mutants                    all of them, and the table into docs/mutants.md
//	go run ./mutants -only 'cookie'     those whose name fits the regular expression
//
// It runs in the folder tools. The lists are the files mutants/*.txt, read by [parse].
package main
