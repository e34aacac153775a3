package users

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode"

	"sallyport/authflow/password"
	"sallyport/config/strictyaml"
)

// User is a person as the users file describes them, or as another source does. It is a copy, but Groups and Password
// are shared with others that ask: nobody changes them.
type User struct {
	Subject  string // unique over all sources: "file:" and the name as the file spells it
	Username string // as its source spells it
	Source   string // the name of the source; empty: the users file
	Email    string // empty where the file gives none
	Name     string // the display name; empty where the file gives none
	Groups   []string
	Disabled bool
	Password *password.Hash // nil where another source checks it
	Stamp    string         // changes when the password hash does, and says nothing about it
}

// document is Authelia's users_database.yml. What it knows of a person beyond what the gateway uses is accepted.
type document struct {
	Users map[string]record `key:"users"`
}

type record struct {
	DisplayName string   `key:"displayname"`
	Email       string   `key:"email"`
	Groups      []string `key:"groups"`
	Disabled    bool     `key:"disabled"`
	Password    string   `key:"password"`
	_           struct{} `ignore:"given_name family_name middle_name nickname gender birthdate website profile picture zoneinfo locale phone_number phone_extension address extra"`
}

// snapshot is one good reading of the file.
type snapshot struct {
	users     []User         // by name
	byLogin   map[string]int // folded user names, and e-mail addresses that only one user has
	bySubject map[string]int
	warnings  []string
}

// read returns the users of the file. The error lists everything that is wrong with it.
func read(path string) (*snapshot, error) {
	data, err := strictyaml.ReadFile(path, strictyaml.MaxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%s: %w; create the users file with: sallyport users add NAME", path, fs.ErrNotExist)
	case err != nil:
		return nil, fmt.Errorf("%s: cannot be read: %w", path, err)
	}
	return parse(path, data)
}

func parse(path string, data []byte) (*snapshot, error) {
	file, doc, err := decode(path, data)
	if err != nil {
		return nil, err
	}
	if !doc.Has("users") {
		doc.Report("users", "missing; write users: {} for a file without users")
	}
	s := &snapshot{bySubject: map[string]int{}}
	for _, name := range slices.Sorted(maps.Keys(file.Users)) {
		s.bySubject[subject(name)] = len(s.users)
		s.users = append(s.users, user(doc, name, file.Users[name]))
	}
	s.index(path, doc)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return s, nil
}

func decode(path string, data []byte) (document, *strictyaml.Document, error) {
	var file document
	doc, err := strictyaml.Decode(path, data, &file, strictyaml.Options{NullIsAbsent: true})
	return file, doc, err
}

func subject(username string) string { return "file:" + username }

func keyOf(username string) string { return strictyaml.Join("users", username) }

func user(doc *strictyaml.Document, name string, r record) User {
	key := keyOf(name)
	if name != strings.TrimSpace(name) {
		doc.Report(key, "has space around the name; take it off")
	}
	for i, group := range r.Groups {
		if strings.TrimSpace(group) != group || group == "" || strings.ContainsFunc(group, func(r rune) bool { return r == ',' || unicode.IsControl(r) }) {
			doc.Report(fmt.Sprintf("%s.groups[%d]", key, i), "%q is not a group name; one is not empty and has no comma, control character or space around it", group)
		}
	}
	u := User{Subject: subject(name), Username: name, Email: r.Email, Name: r.DisplayName, Groups: r.Groups, Disabled: r.Disabled}
	hash, err := password.Parse(r.Password)
	switch {
	case r.Password == "":
		doc.Report(key+".password", "missing; set one with: sallyport users set-password NAME")
	case err != nil:
		doc.Report(key+".password", "%s", err)
	default:
		digest := sha256.Sum256([]byte(r.Password))
		u.Password, u.Stamp = &hash, base64.RawURLEncoding.EncodeToString(digest[:12])
	}
	return u
}

// index finds for each login the one user that it means. Two users whose names fold to one, and a name that is
// another's e-mail address, are errors: one of them could sign in as the other. An address that several have
// happens (a shared mailbox), and means nobody.
func (s *snapshot) index(path string, doc *strictyaml.Document) {
	s.byLogin = map[string]int{}
	for i, u := range s.users {
		name, err := Fold(u.Username)
		if err != nil {
			doc.Report(keyOf(u.Username), "%s", err)
			continue
		}
		if other, taken := s.byLogin[name]; taken {
			doc.Report(keyOf(u.Username), "is the same name as %q on line %d, since letter case and spelling do not count; rename one", s.users[other].Username, doc.Line(keyOf(s.users[other].Username)))
			continue
		}
		s.byLogin[name] = i
	}
	names := maps.Clone(s.byLogin)
	shared := map[string]bool{}
	for i, u := range s.users {
		if u.Email == "" {
			continue
		}
		key := keyOf(u.Username) + ".email"
		email, err := Fold(u.Email)
		if err != nil {
			doc.Report(key, "%s", err)
			continue
		}
		if other, taken := names[email]; taken && other != i {
			doc.Report(key, "is the user name on line %d; change one of them", doc.Line(keyOf(s.users[other].Username)))
			continue
		}
		if other, taken := s.byLogin[email]; taken && other != i {
			shared[email] = true
			s.warnings = append(s.warnings, fmt.Sprintf("%s:%d: %s: is also the e-mail of %q; nobody can sign in by it", path, doc.Line(key), key, s.users[other].Username))
			continue
		}
		s.byLogin[email] = i
	}
	for email := range shared {
		delete(s.byLogin, email)
	}
}
