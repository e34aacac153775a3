// Package users says who exists: it reads the users file, in the format of Authelia's users_database.yml, follows its
// changes, and edits it.
//
// It does not decide whether somebody may sign in, and it does not check passwords.
package users

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"sallyport/config/strictyaml"
	"sallyport/internal/filewatch"
)

// Directory answers questions about users from the last good reading of the file. It may be used by any number of
// goroutines at once.
type Directory struct {
	path string
	log  *slog.Logger
	good atomic.Pointer[snapshot]

	loading  sync.Mutex      // guards what follows, and keeps readings in order
	seen     filewatch.State // of the file, when it was last read
	retry    bool            // the file could not be opened, which may mend without a change of its state
	reported string          // the last error that was logged
	onChange []func()
}

// Open reads the file at path. The error lists everything that is wrong with it, one on each line.
func Open(path string, log *slog.Logger) (*Directory, error) {
	d := &Directory{path: path, log: log}
	if err := d.Reload(); err != nil {
		return nil, err
	}
	return d, nil
}

// None returns a directory of no users, for a gateway whose users are all known elsewhere. It never changes.
func None() *Directory {
	d := &Directory{}
	d.good.Store(&snapshot{})
	return d
}

// Find returns the user who signs in as login: a user name or an e-mail address, in any letter case. An address that
// several users have finds nobody.
func (d *Directory) Find(login string) (User, bool) {
	folded, err := Fold(login)
	if err != nil {
		return User{}, false
	}
	s := d.good.Load()
	return s.at(s.byLogin, folded)
}

// BySubject returns the user whose [User.Subject] it is.
func (d *Directory) BySubject(subject string) (User, bool) {
	s := d.good.Load()
	return s.at(s.bySubject, subject)
}

func (s *snapshot) at(index map[string]int, key string) (User, bool) {
	i, found := index[key]
	if !found {
		return User{}, false
	}
	return s.users[i], true
}

// All returns every user, in the order of their names.
func (d *Directory) All() []User { return slices.Clone(d.good.Load().users) }

// Warnings says what is odd about the file in force, though not wrong: one line each, with file, line and key.
func (d *Directory) Warnings() []string { return slices.Clone(d.good.Load().warnings) }

// OnChange has f called now and after each reading that is taken over, one call at a time. f must not call a method
// that reads the file.
func (d *Directory) OnChange(f func()) {
	d.loading.Lock()
	defer d.loading.Unlock()
	d.onChange = append(d.onChange, f)
	f()
}

// Reload reads the file and takes it over. On an error, which lists everything that is wrong, the users stay
// what they were.
func (d *Directory) Reload() error {
	if d.path == "" {
		return nil
	}
	d.loading.Lock()
	defer d.loading.Unlock()
	return d.load()
}

func (d *Directory) load() error {
	d.seen = filewatch.Look(d.path) // before the reading: a change during it is then seen by the next look
	s, err := read(d.path)
	_, d.retry = errors.AsType[*fs.PathError](err)
	if err != nil {
		return err
	}
	d.reported = ""
	d.good.Store(s)
	for _, f := range d.onChange {
		f()
	}
	return nil
}

// Watch takes changes of the file over, well within a second, until ctx ends. What it does and what it cannot take
// over it writes to the log, one line for each change.
func (d *Directory) Watch(ctx context.Context) {
	if d.path != "" {
		filewatch.Watch(ctx, d.follow, d.path)
	}
}

// follow reads the file where it is no longer in the state in which it was read.
func (d *Directory) follow(now filewatch.State) {
	d.loading.Lock()
	defer d.loading.Unlock()
	changed := !now.Same(d.seen)
	if !changed && !d.retry {
		return
	}
	err := d.load()
	if err == nil {
		d.log.Info("users file taken over", "file", d.path, "users", len(d.good.Load().users))
		for _, warning := range d.good.Load().warnings {
			d.log.Warn("users file", "warning", warning)
		}
		return
	}
	if !changed && err.Error() == d.reported {
		return
	}
	d.reported = err.Error()
	first, more := err, 0
	if problems, ok := errors.AsType[strictyaml.Errors](err); ok {
		first, more = problems[0], len(problems)-1
	}
	d.log.Error("users file not taken over; the old one stays in force", "file", d.path, "error", first, "more", more)
}

// SetPassword writes a new password hash into the file, as [SetPassword] does, and takes it over.
func (d *Directory) SetPassword(username, phc string) error {
	if err := SetPassword(d.path, username, phc); err != nil {
		return err
	}
	if err := d.Reload(); err != nil {
		return fmt.Errorf("the password is set, but the users file cannot be taken over: %w", err)
	}
	return nil
}
