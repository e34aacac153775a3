package e2e

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestTheConfigurationsOfThePapersWorkAsTheyStand(t *testing.T) {
	for name, configuration := range map[string]string{
		"config.example.yaml": read(t, "config.example.yaml"),
		"README.md":           firstYAML(t, read(t, "README.md")),
		"docs/forward-auth":   firstYAML(t, read(t, "docs/forward-auth/README.md")),
		"docs/upstreams.md":   strings.Replace(firstYAML(t, read(t, "docs/upstreams.md")), "/etc/sallyport/internal-ca.pem", authorityFile(t), 1),
	} {
		t.Run(name, func(t *testing.T) {
			g := &gateway{t: t, Dir: t.TempDir()}
			g.write("config.yaml", configuration)
			add := exec.Command(binary, "users", "add", "alice")
			add.Dir, add.Stdin = g.Dir, strings.NewReader(password+"\n")
			if out, err := add.CombinedOutput(); err != nil {
				t.Fatalf("sallyport users add alice: %v: %s", err, out)
			}
			g.run("check")
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

// read returns a file of the repository's top folder.
func read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// firstYAML returns the first block of YAML in a Markdown text.
func firstYAML(t *testing.T, markdown string) string {
	t.Helper()
	return firstBlock(t, markdown, "yaml")
}

// firstBlock returns the first block of a language in a Markdown text.
func firstBlock(t *testing.T, markdown, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(markdown, "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !found || !closed {
		t.Fatalf("no block of %s in it", language)
	}
	return block + "\n"
}
