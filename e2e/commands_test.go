package e2e

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/bcrypt"

	"sallyport/e2e/harness"
)

// TestTheCommandsDoWhatTheContractSays runs the scripts of testdata/script, each in an empty folder. What they
// can say beside the words of testscript:
//
//	status N PROGRAM ARGS   the program ends with status N; stdout and stderr can then be looked at
//	lines N stdout|stderr   that output has N lines
//	address NAME            sets NAME to a free host:port
//	occupy ADDRESS          something else listens there
//	serves ADDRESS          waits until a gateway answers there
//	opens PASSWORD          the hash on stdout is that of the password, made by argon2id or bcrypt
func TestTheCommandsDoWhatTheContractSays(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join("testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(harness.Binary)+string(os.PathListSeparator)+env.Getenv("PATH"))
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"status":  scriptStatus,
			"lines":   scriptLines,
			"address": scriptAddress,
			"occupy":  scriptOccupy,
			"serves":  scriptServes,
			"opens":   scriptOpens,
		},
		RequireUniqueNames: true,
	})
}

func scriptStatus(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("%s ended with %d, want %d", strings.Join(args[1:], " "), got, want)
	}
}

func scriptLines(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	if got := strings.Count(ts.ReadFile(args[1]), "\n"); got != want {
		ts.Fatalf("%s has %d lines, want %d", args[1], got, want)
	}
}

func scriptAddress(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], l.Addr().String())
	ts.Check(l.Close())
}

func scriptOccupy(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", args[0])
	ts.Check(err)
	ts.Defer(func() { ts.Check(l.Close()) })
}

func scriptServes(ts *testscript.TestScript, _ bool, args []string) {
	for end := time.Now().Add(harness.Patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		response, err := http.Get("http://" + args[0] + "/auth/healthz")
		if err != nil {
			continue
		}
		ts.Check(response.Body.Close())
		if response.StatusCode == http.StatusOK {
			return
		}
	}
	ts.Fatalf("nothing serves at %s after %s", args[0], harness.Patience)
}

func scriptOpens(ts *testscript.TestScript, neg bool, args []string) {
	hash := strings.TrimSpace(ts.ReadFile("stdout"))
	opens := false
	if strings.HasPrefix(hash, "$argon2id$") {
		opens = argon2idOpens(ts, hash, args[0])
	} else {
		opens = bcrypt.CompareHashAndPassword([]byte(hash), []byte(args[0])) == nil
	}
	if opens == neg {
		ts.Fatalf("%q opens %s: %t", args[0], hash, opens)
	}
}
