// Package templates holds the gateway's own pages: their markup, and one struct for
// what each of them shows.
//
// It makes no decision and words no error: authflow/web fills the structs in. Every
// page works without JavaScript and holds no inline script or style, so that it may be
// served under a Content-Security-Policy that allows neither.
package templates

import (
	"embed"
	"fmt"
	"html/template"
)

//go:embed *.html
var files embed.FS

// Parse reads the embedded pages. Execute them by the names above (LoginPage and so
// on). The result may be used by several goroutines at once.
func Parse() (*template.Template, error) {
	t, err := template.New("").ParseFS(files, "*.html")
	if err != nil {
		return nil, fmt.Errorf("parsing the embedded pages: %w", err)
	}
	return t, nil
}
