// Package static holds the style sheet, script and icon of the gateway's own pages,
// under names that change with their content, so that browsers may keep them for ever.
//
// It serves nothing itself: the routes and headers are authflow/web's.
package static

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"path"
	"strings"
)

// FS holds the files under their plain names.
//
//go:embed app.css app.js guard.js favicon.svg
var FS embed.FS

// contentTypes are spelled out because mime.TypeByExtension asks the machine it runs on.
var contentTypes = map[string]string{
	".css": "text/css; charset=utf-8",
	".js":  "text/javascript; charset=utf-8",
	".svg": "image/svg+xml",
}

type asset struct {
	content     []byte
	contentType string
}

var hashedNames, assets = index()

// index reads the embedded files once. An error here cannot come from input:
// it would mean that the binary's own file system is broken.
func index() (map[string]string, map[string]asset) {
	names, byHash := map[string]string{}, map[string]asset{}
	entries, err := fs.ReadDir(FS, ".")
	if err != nil {
		panic("static: reading the embedded files: " + err.Error())
	}
	for _, e := range entries {
		content, err := fs.ReadFile(FS, e.Name())
		if err != nil {
			panic("static: reading the embedded files: " + err.Error())
		}
		sum := sha256.Sum256(content)
		ext := path.Ext(e.Name())
		hashed := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		names[e.Name()] = hashed
		byHash[hashed] = asset{content, contentTypes[ext]}
	}
	return names, byHash
}

// Asset gives the hashed name of a file: Asset("app.css") is "app.3f2a9c81d04e.css".
// It is empty for a file that does not exist.
func Asset(name string) (hashedName string) { return hashedNames[name] }

// Open gives the content of a file by its hashed name, and the Content-Type to
// serve it with. ok is false for any other name, plain names included. The
// content is shared: it must not be changed.
func Open(hashedName string) (content []byte, contentType string, ok bool) {
	a, ok := assets[hashedName]
	return a.content, a.contentType, ok
}
