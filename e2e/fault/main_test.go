package fault

import (
	"os"
	"testing"

	"sallyport/e2e/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.RunTests(m)) }
