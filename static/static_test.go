package static

import (
	"io/fs"
	"regexp"
	"strings"
	"testing"
)

func TestEveryFileOpensUnderItsHashedNameWithAContentType(t *testing.T) {
	names, err := fs.Glob(FS, "*")
	if err != nil || len(names) == 0 {
		t.Fatalf("listing the embedded files: %v, %v", names, err)
	}
	for _, name := range names {
		want, err := fs.ReadFile(FS, name)
		if err != nil {
			t.Fatal(err)
		}
		hashed := Asset(name)
		if !regexp.MustCompile(`^[a-z]+\.[0-9a-f]{12}\.[a-z]+$`).MatchString(hashed) {
			t.Errorf("Asset(%q) = %q, want name.hash.extension", name, hashed)
		}
		content, contentType, ok := Open(hashed)
		if !ok || string(content) != string(want) {
			t.Errorf("Open(%q) = %d bytes, %v; want the %d bytes of %s", hashed, len(content), ok, len(want), name)
		}
		if contentType == "" {
			t.Errorf("%s has no content type", name)
		}
	}
}

func TestNoOtherNameOpens(t *testing.T) {
	hashed := Asset("app.css")
	for _, name := range []string{"", ".", "app.css", "static.go", "../static.go", "/" + hashed, hashed + "/", strings.ToUpper(hashed), "app.000000000000.css"} {
		if _, _, ok := Open(name); ok {
			t.Errorf("Open(%q) found something", name)
		}
	}
	if got := Asset("static.go"); got != "" {
		t.Errorf("Asset of a file that is not served = %q, want empty", got)
	}
}

func TestAssetsLoadNothingFromElsewhere(t *testing.T) {
	for _, name := range []string{"app.css", "app.js", "guard.js"} {
		content, err := fs.ReadFile(FS, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, foreign := range []string{"http:", "https:", "url(", "@import", "//cdn"} {
			if strings.Contains(string(content), foreign) {
				t.Errorf("%s holds %q", name, foreign)
			}
		}
	}
}
