// Package load shows that the gateway stays within bounds when many people, slow ones and hostile ones come at once:
// its memory, and the answers that others get meanwhile. It runs the binary as it is shipped, without the race detector,
// whose memory would hide the gateway's.
//
// It asserts no time: a shared machine is as slow as its neighbours are loud.
package load
