package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	people   = 2500 // in the users file
	password = "correct horse battery staple"
	// hashCost is what the flood of sign-ins must cost: OWASP's recommendation for argon2id, and the gateway's own default.
	hashCost = "$argon2id$v=19$m=19456,t=2,p=1$"
)

// usersFile is what every gateway of a run knows its people from, with the key that they share.
type usersFile struct {
	path   string
	short  string // the same with the first of them alone
	secret []byte
}

func (u *usersFile) secretKey() string { return base64.StdEncoding.EncodeToString(u.secret) }

// person is the name of one of the people in the users file.
func person(i int) string { return fmt.Sprintf("user%04d", i%people) }

// writeUsers makes a users file in which everybody has the same password, hashed by the gateway's own command. The
// first person is in the group "staff".
func (b *bench) writeUsers() (*usersFile, error) {
	hash := exec.CommandContext(b.ctx, b.binary, "hash-password")
	hash.Stdin = strings.NewReader(password + "\n")
	out, err := hash.Output()
	if err != nil {
		return nil, fmt.Errorf("hash a password: %w", err)
	}
	phc := strings.TrimSpace(string(out))
	if !strings.HasPrefix(phc, hashCost) {
		return nil, fmt.Errorf("sallyport hash-password gave %.40q, want %s…", phc, hashCost)
	}
	u := &usersFile{path: filepath.Join(b.dir, "users.yaml"), short: filepath.Join(b.dir, "first-user.yaml"), secret: make([]byte, 32)}
	rand.Read(u.secret) // never fails (crypto/rand)
	return u, errors.Join(writePeople(u.path, phc, people), writePeople(u.short, phc, 1))
}

// writePeople writes the first n people into a users file.
func writePeople(path, phc string, n int) error {
	lines := []string{"users:"}
	for i := range n {
		groups := "crowd"
		if i == 0 {
			groups = "staff"
		}
		lines = append(lines, fmt.Sprintf("  %s: { displayname: User %d, email: %s@example.com, groups: [%s], password: %q }", person(i), i, person(i), groups, phc))
	}
	return os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}
