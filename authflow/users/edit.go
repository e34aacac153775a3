package users

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"sallyport/authflow/password"
	"sallyport/config/strictyaml"
)

var (
	// ErrUnknownUser says that the users file has no such user.
	ErrUnknownUser = errors.New("no such user")
	// ErrUserExists says that the name, or another spelling of it, is taken.
	ErrUserExists = errors.New("the user is there already")
)

// NewUser is what [Add] writes. Email, Name and Groups may be empty.
type NewUser struct {
	Username string
	Email    string
	Name     string
	Groups   []string
	PHC      string // the password hash, as [password.HashArgon2id] returns it
}

type setting struct {
	value any
	path  []string
}

// Add writes a user into the users file at path, and creates the file (mode 0600) and its folder (0700) where they
// are missing.
func Add(path string, u NewUser) error {
	folded, err := Fold(u.Username)
	if err != nil {
		return fmt.Errorf("add the user %q: %w", u.Username, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("add the user %q: %w", u.Username, err)
	}
	return edit(path, true, func(file document) ([]setting, error) {
		for name := range file.Users {
			if other, err := Fold(name); err == nil && other == folded {
				return nil, fmt.Errorf("add the user %q: %w, as %q", u.Username, ErrUserExists, name)
			}
		}
		at := func(key string) []string { return []string{"users", u.Username, key} }
		settings := []setting{{u.Name, at("displayname")}, {u.PHC, at("password")}, {u.Email, at("email")}}
		if len(u.Groups) > 0 {
			settings = append(settings, setting{u.Groups, at("groups")})
		}
		return settings, nil
	})
}

// SetPassword writes a new password hash of a user, given by name in any letter case, into the users file at path.
func SetPassword(path, username, phc string) error {
	if _, err := password.Parse(phc); err != nil {
		return fmt.Errorf("set the password of %q: the new one %w", username, err)
	}
	return set(path, username, "password", phc)
}

// SetDisabled writes into the users file at path that a user, given by name in any letter case, may not sign in, or may again.
func SetDisabled(path, username string, disabled bool) error {
	return set(path, username, "disabled", disabled)
}

func set(path, username, key string, value any) error {
	return edit(path, false, func(file document) ([]setting, error) {
		folded, err := Fold(username)
		for name := range file.Users {
			if other, foldErr := Fold(name); err == nil && foldErr == nil && other == folded {
				return []setting{{value, []string{"users", name, key}}}, nil
			}
		}
		return nil, fmt.Errorf("%s: %w: %q; sallyport users list shows them", path, ErrUnknownUser, username)
	})
}

// edit changes the file in one step, which a reader sees whole or not at all, while other writers wait. Comments
// and other keys stay. A file that has something wrong with it can be edited, so that it can be mended; an edit
// that would leave more wrong than before is refused.
func edit(path string, create bool, change func(document) ([]setting, error)) error {
	// A link stays a link: what it points to is replaced.
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	unlock, err := lock(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer unlock()
	data, err := strictyaml.ReadFile(path, strictyaml.MaxSize)
	switch {
	case errors.Is(err, fs.ErrNotExist) && create:
		data = []byte("users: {}\n")
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w; create the users file with: sallyport users add NAME", path, fs.ErrNotExist)
	case err != nil:
		return err
	}
	file, _, err := decode(path, data)
	if err != nil {
		return err
	}
	settings, err := change(file)
	if err != nil {
		return err
	}
	edited := data
	for _, s := range settings {
		if edited, err = strictyaml.Set(edited, s.value, s.path...); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	if _, err := parse(path, edited); problems(err) > 0 {
		if _, before := parse(path, data); problems(err) > problems(before) {
			return fmt.Errorf("not written, since it would not be right: %w", err)
		}
	}
	return replace(path, edited)
}

func problems(err error) int {
	if err == nil {
		return 0
	}
	found, _ := errors.AsType[strictyaml.Errors](err)
	return max(len(found), 1)
}

// lock keeps other processes from editing files of the folder. The lock ends with the process that holds it, and leaves
// no file behind.
func lock(folder string) (unlock func(), err error) {
	f, err := os.Open(folder)
	if err != nil {
		return nil, fmt.Errorf("edit the users file: %w", err)
	}
	const pause, tries = 20 * time.Millisecond, 1000 // 20 s, as long as a slow disk may take for a few edits
	for range tries {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			break
		}
		time.Sleep(pause)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("edit the users file: %s is locked by another program: %w", folder, err)
	}
	return func() { f.Close() }, nil
}

// replace writes the file under another name and renames it, keeping mode and owner.
func replace(path string, data []byte) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("write the users file: %w", err)
		}
	}()
	f, err := os.CreateTemp(filepath.Dir(path), ".users-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // nothing is there any more where the rename was done
	_, err = f.Write(data)
	if err == nil {
		err = likeOld(f, path)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err = os.Rename(f.Name(), path); errors.Is(err, syscall.EBUSY) {
		return fmt.Errorf("%w; a file that is mounted by itself cannot be replaced: mount its folder", err)
	} else if err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// likeOld gives the new file the mode and owner of the old one: a file that root edits must stay readable for the
// user that the gateway runs as.
func likeOld(f *os.File, path string) error {
	old, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if owner, ok := old.Sys().(*syscall.Stat_t); ok {
		if err := f.Chown(int(owner.Uid), int(owner.Gid)); err != nil {
			return err
		}
	}
	return f.Chmod(old.Mode().Perm())
}
