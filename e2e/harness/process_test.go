package harness

import (
	"net"
	"testing"
)

func TestAProgramIsNotTakenForAnotherOneThatHasItsPort(t *testing.T) {
	other, err := net.Listen("tcp", FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if Start(t, t.TempDir(), "sleep", "60").Listens(other.Addr().String()) {
		t.Error("the program is said to have a port that the test has")
	}
}
