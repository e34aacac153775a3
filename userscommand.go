package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"sallyport/authflow"
	"sallyport/authflow/audit"
	"sallyport/authflow/password"
	"sallyport/authflow/session"
	"sallyport/authflow/users"
	"sallyport/config"
)

// usersCall is one call of "sallyport users".
type usersCall struct {
	t       terminal
	cfg     *config.Config
	name    string
	add     users.NewUser
	groups  string
	bcrypt  bool
	actions map[string]func(context.Context) error
}

func usersCommand(ctx context.Context, args []string, t terminal) error {
	c := &usersCall{t: t}
	c.actions = map[string]func(context.Context) error{
		"list": c.list, "add": c.addUser, "set-password": c.setPassword, "disable": c.disable, "enable": c.enable,
		"invite": c.invite, "reset-2fa": c.reset,
	}
	if len(args) == 0 || c.actions[args[0]] == nil {
		return badUsage("sallyport users: say what to do: list, add, set-password, disable, enable, invite or reset-2fa")
	}
	action := args[0]
	var path string
	names, err := parse("users "+action, args[1:], 1, func(set *flag.FlagSet) {
		configFlag(&path)(set)
		if action == "add" {
			set.StringVar(&c.add.Email, "email", "", "")
			set.StringVar(&c.add.Name, "name", "", "display name")
			set.StringVar(&c.groups, "groups", "", "comma-separated")
		}
		if action == "add" || action == "set-password" {
			set.BoolVar(&c.bcrypt, "bcrypt", false, "")
		}
	})
	if err != nil {
		return err
	}
	switch {
	case action == "list" && len(names) > 0:
		return badUsage("sallyport users list: takes no name")
	case action != "list" && len(names) == 0:
		return badUsage("sallyport users %s: name the user", action)
	case len(names) == 1:
		c.name = names[0]
	}
	if c.cfg, err = config.Load(path); err != nil {
		return usageError{err}
	}
	if ofFile := action != "invite" && action != "reset-2fa"; ofFile && !c.cfg.Users.HasFile() {
		return usageError{fmt.Errorf("%s: users.sources: names no users file, so there are no users to %s here", c.cfg.Path, action)}
	}
	return c.actions[action](ctx)
}

// find returns the user that the call names.
func (c *usersCall) find() (users.User, error) {
	dir, err := openUsers(c.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return users.User{}, usageError{err}
	}
	u, ok := dir.Find(c.name)
	if !ok {
		return u, usageError{fmt.Errorf("%s: there is no user %q; sallyport users list shows them", c.cfg.Users.File, c.name)}
	}
	return u, nil
}

func (c *usersCall) list(ctx context.Context) error {
	dir, err := openUsers(c.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return usageError{err}
	}
	e, err := c.enrolments(ctx)
	if err != nil {
		return err
	}
	defer e.close()
	table := tabwriter.NewWriter(c.t.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tE-MAIL\tGROUPS\tSTATE\tSECOND FACTOR")
	for _, u := range dir.All() {
		state, second := "enabled", "none"
		if u.Disabled {
			state = "disabled"
		}
		yes, err := e.enrolled(ctx, u.Subject)
		if err != nil {
			return err
		}
		if yes {
			second = "totp"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", u.Username, u.Email, strings.Join(u.Groups, ","), state, second)
	}
	return table.Flush()
}

// newHash reads a password that is good enough for name.
func (c *usersCall) newHash(name string) (string, error) {
	plain, err := readPassword(c.t, newPassword...)
	if err != nil {
		return "", err
	}
	if err := password.CheckNew(plain, name); err != nil {
		return "", usageError{err}
	}
	phc, err := hash(plain, c.bcrypt)
	if err != nil {
		return "", usageError{err}
	}
	return phc, nil
}

func (c *usersCall) addUser(context.Context) error {
	c.add.Username = c.name
	if c.groups != "" {
		c.add.Groups = strings.Split(c.groups, ",")
	}
	var err error
	if c.add.PHC, err = c.newHash(c.name); err != nil {
		return err
	}
	if err := users.Add(c.cfg.Users.File, c.add); err != nil {
		return usageError{err}
	}
	return c.say("%s: added %s", c.cfg.Users.File, c.name)
}

func (c *usersCall) setPassword(context.Context) error {
	u, err := c.find()
	if err != nil {
		return err
	}
	phc, err := c.newHash(u.Username)
	if err != nil {
		return err
	}
	if err := users.SetPassword(c.cfg.Users.File, u.Username, phc); err != nil {
		return err
	}
	return c.say("%s: new password for %s; their sessions have ended", c.cfg.Users.File, u.Username)
}

func (c *usersCall) disable(context.Context) error { return c.setDisabled(true, "disabled") }
func (c *usersCall) enable(context.Context) error  { return c.setDisabled(false, "enabled") }

func (c *usersCall) setDisabled(disabled bool, what string) error {
	u, err := c.find()
	if err != nil {
		return err
	}
	if err := users.SetDisabled(c.cfg.Users.File, u.Username, disabled); err != nil {
		return err
	}
	return c.say("%s: %s is %s", c.cfg.Users.File, u.Username, what)
}

func (c *usersCall) invite(ctx context.Context) error {
	return c.withEnrolments(ctx, func(u users.User, e enrolments) error {
		made, err := e.invite(ctx, u.Subject)
		if err != nil {
			return err
		}
		return c.say("Invitation for %s, good once and for %d days:\n%s", u.Username, made.Life/(24*time.Hour), made.Code)
	})
}

func (c *usersCall) reset(ctx context.Context) error {
	return c.withEnrolments(ctx, func(u users.User, e enrolments) error {
		if err := e.reset(ctx, u.Subject); err != nil {
			return err
		}
		return c.say("%s has no second factor any more, and their sessions have ended", u.Username)
	})
}

// findAnywhere returns the user that the call names, or the person of another source: wiki/alice.
func (c *usersCall) findAnywhere() (users.User, error) {
	dir, err := openUsers(c.cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		return users.User{}, usageError{err}
	}
	sources, err := (&apps{cfg: c.cfg}).sources()
	if err != nil {
		return users.User{}, usageError{fmt.Errorf("%s: %w", c.cfg.Path, err)}
	}
	u, ok := (&authflow.Flow{Users: dir, Sources: sources}).Find(c.name)
	if !ok {
		return u, usageError{fmt.Errorf("%s: there is no user %q; write a person of another source as SOURCE/NAME", c.cfg.Path, c.name)}
	}
	return u, nil
}

// withEnrolments runs an action on the second factor of the person that the call names.
func (c *usersCall) withEnrolments(ctx context.Context, action func(users.User, enrolments) error) error {
	u, err := c.findAnywhere()
	if err != nil {
		return err
	}
	e, err := c.enrolments(ctx)
	if err != nil {
		return err
	}
	return errors.Join(action(u, e), e.close())
}

func (c *usersCall) say(format string, args ...any) error {
	_, err := fmt.Fprintf(c.t.out, format+"\n", args...)
	return err
}

// enrolments opens the store, or asks the running gateway where it holds the embedded one.
func (c *usersCall) enrolments(ctx context.Context) (enrolments, error) {
	if c.cfg.Store.Driver == "embedded" {
		remote, err := dialControl(ctx, c.cfg)
		if err != nil || remote != nil {
			return remote, err
		}
	}
	log := slog.New(slog.NewTextHandler(c.t.err, &slog.HandlerOptions{Level: slog.LevelError}))
	keys, err := keyring(c.cfg)
	if err != nil {
		return nil, err
	}
	kv, err := open(ctx, c.cfg, log)
	if err != nil {
		return nil, err
	}
	return localEnrolments{kv: kv, flow: &authflow.Flow{
		KV: kv, Keys: keys, Now: time.Now, Sessions: &session.Keeper{KV: kv, Now: time.Now}, Trail: &audit.Trail{Log: log},
	}}, nil
}
