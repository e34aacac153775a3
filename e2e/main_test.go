package e2e

import (
	"flag"
	"os"
	"testing"

	"sallyport/e2e/harness"
)

// screenshots is where TestEveryPage... also leaves pictures of the pages; empty: it takes none.
var screenshots = flag.String("screenshots", "", "`folder` to write a picture of every page into")

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(harness.RunTests(m))
}
