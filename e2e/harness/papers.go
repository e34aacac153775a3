package harness

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Read returns a file of the repository's top folder.
func Read(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(repository(), name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// FirstYAML returns the first block of YAML in a Markdown text.
func FirstYAML(t *testing.T, markdown string) string {
	t.Helper()
	return FirstBlock(t, markdown, "yaml")
}

// FirstBlock returns the first block of a language in a Markdown text.
func FirstBlock(t *testing.T, markdown, language string) string {
	t.Helper()
	_, rest, found := strings.Cut(markdown, "```"+language+"\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !found || !closed {
		t.Fatalf("no block of %s in it", language)
	}
	return block + "\n"
}
