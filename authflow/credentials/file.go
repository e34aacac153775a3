package credentials

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"sallyport/authflow/users"
	"sallyport/config/strictyaml"
)

// Map says which account each person has. It is never changed, and may be used by any number of goroutines at once.
type Map struct {
	people   map[person]Account
	groups   []groupAccount // in the file's order
	warnings []string
}

// person is somebody of a source of users.
type person struct {
	source string // empty: the users file
	name   string // folded
}

type groupAccount struct {
	group   string
	account Account
}

type document struct {
	People map[string]record `key:"people"`
	Groups []groupRecord     `key:"groups"`
}

type record struct {
	Username string `key:"username"`
	Password string `key:"password,secret"`
}

type groupRecord struct {
	Group    string `key:"group"`
	Username string `key:"username"`
	Password string `key:"password,secret"`
}

// Read reads the file at path. The error lists everything that is wrong with it, one on each line, and shows no password.
//
//	people:
//	  alice: { username: alice.l, password: "…" }            # of the users file
//	  wiki/bob: { username: bob, password_file: bob.txt }    # of the source "wiki"
//	groups:
//	  - { group: admins, username: root, password: "…" }
//
// A password_file stands beside the file unless its path is absolute; space around its content is no part of the
// password. Names of people are looked up by [users.Fold], so that letter case makes no difference; names of groups as they are.
func Read(path string) (*Map, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be read: %w", path, err)
	}
	data, err := strictyaml.ReadFile(path, strictyaml.MaxSize)
	if err != nil {
		return nil, fmt.Errorf("%s: cannot be read: %w", path, err)
	}
	m, err := parse(path, data)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o044 != 0 {
		m.warnings = []string{fmt.Sprintf("%s: others than its owner can read the passwords in it (mode %04o); chmod 600 %s", path, mode, path)}
	}
	return m, nil
}

func parse(path string, data []byte) (*Map, error) {
	var file document
	doc, err := strictyaml.Decode(path, data, &file, strictyaml.Options{})
	if err != nil {
		return nil, err
	}
	if !doc.Has("people") && !doc.Has("groups") || doc.Err() == nil && len(file.People)+len(file.Groups) == 0 {
		doc.Report("", "names nobody; give an account to a name under people: or to a group under groups:")
	}
	m := &Map{people: map[person]Account{}}
	m.addPeople(doc, file.People)
	m.addGroups(doc, file.Groups)
	if err := doc.Err(); err != nil {
		return nil, err
	}
	return m, nil
}

func (m *Map) addPeople(doc *strictyaml.Document, people map[string]record) {
	spelled := map[person]string{} // as the file writes the name
	inOrder := func(a, b string) int {
		return cmp.Or(doc.Line(keyOf(a))-doc.Line(keyOf(b)), strings.Compare(a, b))
	}
	for _, written := range slices.SortedFunc(maps.Keys(people), inOrder) {
		key := keyOf(written)
		p, err := personNamed(written)
		switch other, taken := spelled[p]; {
		case err != nil:
			doc.Report(key, "%s", err)
		case taken:
			doc.Report(key, "is the same name as %q on line %d, since letter case and spelling do not count; keep one of the two", other, doc.Line(keyOf(other)))
		default:
			spelled[p] = written
		}
		m.people[p] = account(doc, key, people[written].Username, people[written].Password)
	}
}

func keyOf(written string) string { return strictyaml.Join("people", written) }

func (m *Map) addGroups(doc *strictyaml.Document, groups []groupRecord) {
	lines := map[string]int{}
	for i, g := range groups {
		key := fmt.Sprintf("groups[%d]", i)
		first, taken := lines[g.Group]
		switch {
		case g.Group == "":
			doc.Report(key+".group", "missing")
		case taken:
			doc.Report(key+".group", "%q is given twice; first on line %d", g.Group, first)
		default:
			lines[g.Group] = doc.Line(key + ".group")
		}
		m.groups = append(m.groups, groupAccount{g.Group, account(doc, key, g.Username, g.Password)})
	}
}

// account reports what is wrong with the account under key, beyond what cannot be read at all.
func account(doc *strictyaml.Document, key, username, password string) Account {
	if username == "" {
		doc.Report(key+".username", "missing")
	} else if err := checkUsername(username); err != nil {
		doc.Report(key+".username", "%s", err)
	}
	if password == "" {
		secret := key + ".password"
		if doc.Has(secret + "_file") {
			secret += "_file" // of which it may be known already why it gives nothing
		}
		doc.Report(secret, "missing; give the password as password, or the name of a file that holds it as password_file")
	}
	return Account{username, &password}
}

// personNamed reads a name of the file: one of the users file, or one behind the source's name and a slash.
func personNamed(written string) (person, error) {
	source, name, found := strings.Cut(written, "/")
	if !found {
		source, name = "", written
	}
	folded, err := users.Fold(name)
	switch {
	case err != nil:
		return person{}, err
	case found && (source == "" || strings.TrimSpace(source) != source):
		return person{}, fmt.Errorf("%q has no name of a source before the slash; write SOURCE/NAME, or NAME for a person of the users file", written)
	}
	return person{source, folded}, nil
}

// personOf reads a [users.User]'s Subject: "file:alice", or the kind of another source, its name, and the person's.
func personOf(subject string) (person, bool) {
	kind, name, _ := strings.Cut(subject, ":")
	source := ""
	if kind != "file" {
		source, name, _ = strings.Cut(name, ":")
		if source == "" {
			return person{}, false
		}
	}
	folded, err := users.Fold(name)
	return person{source, folded}, err == nil
}

// For returns the account of the person with that [users.User] Subject and groups: their own, or else that of the first
// group in the file's order that they are in.
func (m *Map) For(subject string, groups []string) (Account, bool) {
	if p, ok := personOf(subject); ok {
		if a, found := m.people[p]; found {
			return a, true
		}
	}
	for _, g := range m.groups {
		if slices.Contains(groups, g.group) {
			return g.account, true
		}
	}
	return Account{}, false
}

// Warnings says what is odd about the file, though not wrong, one line each.
func (m *Map) Warnings() []string { return slices.Clone(m.warnings) }
