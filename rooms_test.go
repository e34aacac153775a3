package main

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// rooms says which of our packages each of them may import, as docs/design/rooms.md has it.
var rooms = map[string][]string{
	"sallyport/config/strictyaml":         {},
	"sallyport/config":                    {"sallyport/config/strictyaml"},
	"sallyport/authflow/appsignin":        {"sallyport/authflow/turns"},
	"sallyport/authflow/assertion":        {"sallyport/authflow/session"},
	"sallyport/authflow/audit":            {},
	"sallyport/authflow/cookie":           {},
	"sallyport/authflow/password":         {"sallyport/authflow/turns"},
	"sallyport/authflow/passwordcommand":  {"sallyport/authflow/turns"},
	"sallyport/authflow/recovery":         {},
	"sallyport/authflow/seal":             {},
	"sallyport/authflow/store":            {},
	"sallyport/authflow/totp":             {},
	"sallyport/authflow/turns":            {},
	"sallyport/authflow/session":          {"sallyport/authflow/store"},
	"sallyport/authflow/throttle":         {"sallyport/authflow/store"},
	"sallyport/authflow/users":            {"sallyport/authflow/password", "sallyport/config/strictyaml", "sallyport/internal/filewatch"},
	"sallyport/authflow/credentials":      {"sallyport/authflow/users", "sallyport/config/strictyaml"},
	"sallyport/authflow/store/boltstore":  {"sallyport/authflow/store"},
	"sallyport/authflow/store/redisstore": {"sallyport/authflow/store"},
	"sallyport/authflow/store/storetest":  {"sallyport/authflow/store"},
	"sallyport/authflow/store/redistest":  {},
	"sallyport/authflow": {
		"sallyport/authflow/audit", "sallyport/authflow/password", "sallyport/authflow/recovery", "sallyport/authflow/seal",
		"sallyport/authflow/session", "sallyport/authflow/store", "sallyport/authflow/throttle", "sallyport/authflow/totp",
		"sallyport/authflow/users",
	},
	"sallyport/authflow/web":       {"sallyport/authflow", "sallyport/authflow/*", "sallyport/static", "sallyport/templates"},
	"sallyport/proxy":              {"sallyport/authflow/session"},
	"sallyport/templates":          {},
	"sallyport/static":             {},
	"sallyport/internal/filewatch": {},
	"sallyport/internal/sampleapp": {},
	"sallyport/bench": {
		"sallyport/authflow/cookie", "sallyport/authflow/seal", "sallyport/authflow/session", "sallyport/authflow/store",
		"sallyport/authflow/store/boltstore", "sallyport/authflow/store/redisstore", "sallyport/authflow/users",
	},
	"sallyport": {"sallyport/*"},
}

func TestRoomsImportOnlyWhatTheDesignAllows(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		name, imports := fields[0], fields[1:]
		allowed, known := rooms[name]
		if !known {
			t.Errorf("%s is a room that the design does not have: add it to rooms and to docs/design/rooms.md", name)
		}
		for _, i := range imports {
			if !strings.HasPrefix(i, "sallyport") || slices.ContainsFunc(allowed, func(a string) bool {
				return a == i || strings.HasSuffix(a, "/*") && strings.HasPrefix(i, strings.TrimSuffix(a, "*"))
			}) {
				continue
			}
			t.Errorf("%s imports %s, which the design does not allow", name, i)
		}
	}
}

func TestOnlyItsDriverKnowsAStoresLibrary(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-f", "{{.ImportPath}} {{join .Imports \" \"}}", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	owners := map[string][]string{
		"github.com/redis/go-redis":          {"sallyport/authflow/store/redisstore", "sallyport/authflow/store/redistest"},
		"go.etcd.io/bbolt":                   {"sallyport/authflow/store/boltstore"},
		"gopkg.in/yaml.v3":                   {"sallyport/config/strictyaml"},
		"github.com/pquerna/otp":             {"sallyport/authflow/totp"},
		"github.com/skip2/go-qrcode":         {"sallyport/authflow/totp"},
		"github.com/gorilla/securecookie":    {"sallyport/authflow/cookie"},
		"github.com/go-jose/go-jose":         {"sallyport/authflow/assertion"},
		"github.com/go-json-experiment/json": {"sallyport/authflow/web"},
		"github.com/prometheus":              {"sallyport"},
		"golang.org/x/net":                   {"sallyport/authflow/appsignin"},
		"golang.org/x/crypto/acme":           {"sallyport"},
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		for library, allowed := range owners {
			for _, i := range fields[1:] {
				if strings.HasPrefix(i, library) && !slices.Contains(allowed, fields[0]) {
					t.Errorf("%s imports %s, which is %v's", fields[0], i, allowed)
				}
			}
		}
	}
}
