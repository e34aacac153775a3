// Command sallyport is a reverse-proxy authentication gateway: it stands in front of apps that have no
// two-factor sign-in, and forwards only the requests of people who have proved who they are.
//
// This package is the list of commands and of parts; what the parts do is in the packages below it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
)

// Exit statuses.
const (
	exitDone   = 0
	exitFailed = 1 // failed while running
	exitUsage  = 2 // bad usage or bad configuration
)

// version is set by the release build (-ldflags "-X main.version=…").
var version = "devel"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], terminal{os.Stdin, os.Stdout, os.Stderr}))
}

// terminal is where a command reads from and writes to.
type terminal struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// usageError is a mistake in how a command was called or in a file that it was given: exit status 2.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func badUsage(format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...)}
}

type command struct {
	name, args, about string
	run               func(ctx context.Context, args []string, t terminal) error
}

func commands() []command {
	return []command{
		{"serve", "[--config config.yaml]", "run the gateway", serveCommand},
		{"demo", "[--listen 127.0.0.1:8080]", "run a gateway with a sample app and a sample user", demoCommand},
		{"check", "[--config config.yaml] [--probe [--as NAME]]", "validate the configuration and every file that it names; try a wrong password, and NAME's right one, on the apps", checkCommand},
		{"explain", "[--config …] [--user NAME] [--method GET] [--ip ADDR] URL", "say which upstream and rule a request meets, and what is decided", explainCommand},
		{"hash-password", "[--bcrypt]", "read a password and print its hash", hashPasswordCommand},
		{"users", "list|add|set-password|disable|enable|invite|reset-2fa …", "manage the users and their second factors", usersCommand},
		{"healthcheck", "[--config config.yaml]", "ask a running gateway whether it serves (for containers)", healthcheckCommand},
		{"version", "", "print version, commit and Go version", versionCommand},
	}
}

// run runs one command and returns the exit status. Without a command, serve is meant.
func run(ctx context.Context, args []string, t terminal) int {
	name := "serve"
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		name, args = args[0], args[1:]
	}
	if len(args) > 0 && (args[0] == "-h" || args[0] == "--help" || args[0] == "-help") || name == "help" {
		usage(t.out)
		return exitDone
	}
	for _, c := range commands() {
		if c.name == name {
			return report(c.run(ctx, args, t), t)
		}
	}
	return report(badUsage("sallyport: unknown command %q; sallyport help lists them", name), t)
}

// report writes an error, one line each where it holds several, and returns the exit status.
func report(err error, t terminal) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(t.err, strings.TrimRight(err.Error(), "\n"))
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

func usage(w io.Writer) {
	fmt.Fprint(w, "Sallyport puts two-factor sign-in in front of apps that have none.\n\nusage: sallyport [command] [flags]\n\n")
	for _, c := range commands() {
		fmt.Fprintf(w, "  %-14s %s\n  %-14s   %s\n", c.name, c.args, "", c.about)
	}
	fmt.Fprint(w, "\nWithout a command, serve is meant.\n")
}

// parse reads flags that may stand before, between and after at most most arguments, and returns those.
func parse(name string, args []string, most int, declare func(*flag.FlagSet)) ([]string, error) {
	set := flag.NewFlagSet(name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	declare(set)
	var rest []string
	for {
		if err := set.Parse(args); err != nil {
			return nil, badUsage("sallyport %s: %w; sallyport help shows how it is called", name, err)
		}
		if args = set.Args(); len(args) == 0 {
			break
		}
		rest, args = append(rest, args[0]), args[1:]
	}
	if len(rest) > most {
		return nil, badUsage("sallyport %s: unexpected argument %q; sallyport help shows how it is called", name, rest[most])
	}
	return rest, nil
}

// configFlag declares --config.
func configFlag(path *string) func(*flag.FlagSet) {
	return func(set *flag.FlagSet) { set.StringVar(path, "config", "config.yaml", "the configuration file") }
}

func versionCommand(_ context.Context, args []string, t terminal) error {
	if _, err := parse("version", args, 0, func(*flag.FlagSet) {}); err != nil {
		return err
	}
	fmt.Fprintf(t.out, "sallyport %s, commit %s, %s\n", version, commit(), runtime.Version())
	return nil
}

// commit is what the build recorded of the source, where it did.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				return s.Value
			}
		}
	}
	return "unknown"
}
