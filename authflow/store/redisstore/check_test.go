package redisstore

import (
	"strings"
	"testing"

	"sallyport/authflow/store/redistest"
)

func TestCheckRefusesARedisThatMayEvictAndWarnsOfOneThatForgets(t *testing.T) {
	for name, c := range map[string]struct {
		conf     []string
		opts     Options
		err      string   // "": none
		warnings []string // in each place
	}{
		"as it should be":          {conf: []string{"appendonly yes", "maxmemory 100mb", "maxmemory-policy noeviction"}},
		"evicting without a limit": {conf: []string{"appendonly yes", "maxmemory-policy allkeys-lru"}},
		"evicting":                 {conf: []string{"appendonly yes", "maxmemory 100mb", "maxmemory-policy allkeys-lru"}, err: "maxmemory-policy is allkeys-lru"},
		"evicting what expires":    {conf: []string{"appendonly yes", "maxmemory 100mb", "maxmemory-policy volatile-ttl"}, err: "set maxmemory-policy noeviction"},
		"nothing on disk":          {warnings: []string{"nothing is kept on disk"}},
		"snapshots only":           {conf: []string{"save 3600 1"}, warnings: []string{"appendonly is off"}},
		"a user without CONFIG": {conf: []string{aclUser(aclBasic + " +info")}, opts: Options{Username: "gate", Password: "secret"},
			warnings: []string{"appendonly is off"}},
		"a user without INFO": {conf: []string{aclUser(aclBasic)}, opts: Options{Username: "gate", Password: "secret"},
			warnings: []string{"allow the user +info"}},
		"a user who may see all": {conf: []string{aclUser(aclBasic + " +info +config|get"), "maxmemory 100mb", "maxmemory-policy allkeys-lfu"},
			opts: Options{Username: "gate", Password: "secret"}, err: "allkeys-lfu"},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t, c.conf...)
			c.opts.Addresses, c.opts.KeyPrefix = []string{server.Addr}, "sallyport:"
			warnings, err := open(t, c.opts).Check(t.Context())
			if c.err == "" && err != nil || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err) || !strings.Contains(err.Error(), server.Addr)) {
				t.Errorf("got %v, want %q of %s", err, c.err, server.Addr)
			}
			if len(warnings) != len(c.warnings) {
				t.Fatalf("warnings %q, want %q", warnings, c.warnings)
			}
			for i, want := range c.warnings {
				if !strings.Contains(warnings[i], want) || !strings.Contains(warnings[i], server.Addr) {
					t.Errorf("warning %q, want %q of %s", warnings[i], want, server.Addr)
				}
			}
		})
	}
}

func TestCheckLooksAtEveryMasterOfACluster(t *testing.T) {
	nodes := redistest.StartCluster(t)
	opts := Options{Cluster: true, Addresses: []string{nodes[0].Addr}}
	s := open(t, opts)
	warnings, err := s.Check(t.Context())
	if err != nil || len(warnings) != len(nodes) {
		t.Errorf("%q, %v; want a warning of each of %d nodes", warnings, err, len(nodes))
	}
	last := open(t, Options{Addresses: []string{nodes[0].Addr}, Cluster: true})
	for _, setting := range [][]any{{"config", "set", "maxmemory", "100mb"}, {"config", "set", "maxmemory-policy", "allkeys-lru"}} {
		if err := directly(t, nodes[2].Addr, setting...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := last.Check(t.Context()); err == nil || !strings.Contains(err.Error(), nodes[2].Addr) {
		t.Errorf("got %v, want one that names %s", err, nodes[2].Addr)
	}
}

func TestCheckReachesTheMasterBehindASentinel(t *testing.T) {
	sentinel := redistest.StartSentinel(t)
	s := open(t, Options{Addresses: []string{sentinel.Addr}, MasterName: sentinel.MasterName})
	for _, setting := range [][]any{{"config", "set", "maxmemory", "100mb"}, {"config", "set", "maxmemory-policy", "allkeys-lru"}} {
		if err := directly(t, sentinel.Master.Addr, setting...); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "allkeys-lru") {
		t.Errorf("got %v", err)
	}
}

func TestWhichVersionsAreTooOld(t *testing.T) {
	for version, want := range map[string]bool{
		"7.0.15": false, "6.2.0": false, "8.2": false, "10.0.1": false, "255.255.255": false,
		"6.0.16": true, "5.0.7": true, "": true, "7": true, "x.y": true, "-7.0": true,
	} {
		if got := tooOld(version); got != want {
			t.Errorf("%q: %t, want %t", version, got, want)
		}
	}
}

func TestAnInfoThatSaysNothingOfEvictionIsAWarning(t *testing.T) {
	warnings, err := assess(map[string]string{"redis_version": "7.0.0", "aof_enabled": "1"}, "", false)
	if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "maxmemory-policy") {
		t.Errorf("%q, %v", warnings, err)
	}
}

func FuzzAnyTextIsReadAsInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0.15\r\n\r\nos:Linux: x\r\n")
	f.Add("\n:\n#a:b\nc")
	f.Fuzz(func(t *testing.T, text string) {
		for field, value := range parseInfo(text) {
			if strings.ContainsAny(field, ":\n") || strings.HasPrefix(field, "#") || strings.Contains(value, "\n") {
				t.Fatalf("%q: %q", field, value)
			}
			if !strings.Contains(text, field+":"+value) {
				t.Fatalf("%q: %q is not in the text", field, value)
			}
		}
	})
}
