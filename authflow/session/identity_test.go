package session

import "testing"

func TestAPersonOfAnAppHasTheirPlainNameThereAlone(t *testing.T) {
	file, wiki := &Identity{Username: "admin"}, &Identity{Source: "wiki", Username: "admin"}
	for _, c := range []struct {
		id             *Identity
		upstream, want string
	}{
		{file, "wiki", "admin"}, {file, "shop", "admin"}, {file, "", "admin"},
		{wiki, "wiki", "admin"}, {wiki, "shop", "wiki/admin"}, {wiki, "Wiki", "wiki/admin"}, {wiki, "", "wiki/admin"},
	} {
		if got := c.id.UsernameAt(c.upstream); got != c.want {
			t.Errorf("%q of %q at %q is called %q, want %q", c.id.Username, c.id.Source, c.upstream, got, c.want)
		}
	}
}
