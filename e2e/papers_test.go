package e2e

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sallyport/e2e/harness"
)

func TestTheConfigurationsOfThePapersWorkAsTheyStand(t *testing.T) {
	own := t.TempDir()
	writeLoopbackCertificate(t, own)
	tlsPaper := harness.Read(t, "docs/tls.md")
	_, ownPart, _ := strings.Cut(tlsPaper, "## Your own certificate")
	for name, configuration := range map[string]string{
		"config.example.yaml": harness.Read(t, "config.example.yaml"),
		"README.md":           harness.FirstYAML(t, harness.Read(t, "README.md")),
		"docs/forward-auth":   harness.FirstYAML(t, harness.Read(t, "docs/forward-auth/README.md")),
		"docs/app-passwords":  harness.FirstYAML(t, harness.Read(t, "docs/app-passwords.md")),
		"docs/upstreams.md":   strings.Replace(harness.FirstYAML(t, harness.Read(t, "docs/upstreams.md")), "/etc/sallyport/internal-ca.pem", authorityFile(t), 1),
		"docs/tls.md, ACME":   harness.FirstYAML(t, tlsPaper),
		"docs/tls.md, own":    strings.NewReplacer("/etc/sallyport/fullchain.pem", own+"/cert.pem", "/etc/sallyport/privkey.pem", own+"/key.pem").Replace(harness.FirstYAML(t, ownPart)),
	} {
		t.Run(name, func(t *testing.T) {
			g := &harness.Gateway{T: t, Dir: t.TempDir()}
			g.Write("config.yaml", configuration)
			add := exec.Command(harness.Binary, "users", "add", "alice")
			add.Dir, add.Stdin = g.Dir, strings.NewReader(harness.Password+"\n")
			if out, err := add.CombinedOutput(); err != nil {
				t.Fatalf("sallyport users add alice: %v: %s", err, out)
			}
			g.Run("check")
		})
	}
}

// authorityFile names a file with some certificate, for a paper that names one.
func authorityFile(t *testing.T) string {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	name := filepath.Join(t.TempDir(), "internal-ca.pem")
	if err := os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}
