package authflow

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"sallyport/authflow/audit"
	"sallyport/authflow/seal"
	"sallyport/authflow/session"
	"sallyport/authflow/store"
)

// KeptFor is how long a form post waits for the person who sent it to sign in again.
const KeptFor = 15 * time.Minute

const (
	keptPerBrowser = 5         // one more, and the oldest is dropped
	keptPiece      = 512 << 10 // bytes of a body in one record: a store takes no more than 1 MiB (store.KV)
)

// ErrNotKept says that no post is kept under a token for this person, browser and address: it was sent or
// dropped, its time is over, or it is somebody else's.
var ErrNotKept = errors.New("authflow: no such kept post")

// Post is a form as a browser sent it.
type Post struct {
	Host        string // as the request named it
	Target      string // path and query
	ContentType string // with its parameters, the boundary of a multipart body among them
	Referer     string // the page that the form stood on; empty where the browser did not say
	Body        []byte
}

// KeptPost describes a post that waits, without what was typed.
type KeptPost struct {
	Token       string `json:"t"` // names the post once, in the form that sends it
	Host        string `json:"host"`
	Target      string `json:"at"`
	ContentType string `json:"type"`
	Referer     string `json:"ref,omitempty"`
	Size        int    `json:"size"` // bytes
	KeptAt      int64  `json:"kept"` // Unix seconds
	EndsAt      int64  `json:"end"`
}

// MayKeep says whether posts of this browser can be kept: it must be known as one that a person has signed in
// with, and where somebody is signed in (id), as theirs.
func MayKeep(device []byte, id *session.Identity) bool {
	if id != nil {
		_, own := deviceOf(device, id.Subject)
		return own
	}
	return len(device) == deviceOwner+deviceID
}

// KeepPost puts a post aside, for the person and the browser that the client's device names; see [MayKeep]. subject
// is who is signed in, for the audit trail alone; empty: nobody. The body is written before the list that names it,
// so that a crash between the two leaves nothing but records that expire.
func (f *Flow) KeepPost(ctx context.Context, subject string, post Post, client Client) error {
	owner, name := client.Device[:deviceOwner], client.Device[deviceOwner:]
	shelf := shelf{owner: string(owner), name: base64.RawURLEncoding.EncodeToString(name)}
	now := f.Now()
	kept := KeptPost{
		Token: rand.Text(), Host: post.Host, Target: post.Target, ContentType: post.ContentType, Referer: post.Referer,
		Size: len(post.Body), KeptAt: now.Unix(), EndsAt: now.Add(KeptFor).Unix(),
	}
	for i, piece := range slices.Collect(slices.Chunk(post.Body, keptPiece)) {
		sealed := f.Keys.Seal(piece, shelf.owner, kept.field(i))
		if err := f.KV.Put(ctx, kept.record(i), sealed, KeptFor); err != nil {
			return fmt.Errorf("keep a form post: %w", err)
		}
	}
	dropped := 0
	err := f.changeShelf(ctx, shelf, func(posts []KeptPost) ([]KeptPost, error) {
		posts = append(posts, kept)
		dropped = max(0, len(posts)-keptPerBrowser)
		return posts[dropped:], nil
	})
	if err != nil {
		return err
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.FormKept, Subject: subject, Address: client.Address})
	if dropped > 0 {
		f.Trail.Record(ctx, audit.Event{Kind: audit.FormDropped, Subject: subject, Address: client.Address, Reason: "too many are kept"})
	}
	return nil
}

// KeptPosts returns what waits for this person in this browser, the oldest first.
func (f *Flow) KeptPosts(ctx context.Context, subject string, device []byte) ([]KeptPost, error) {
	shelf, ok := shelfOf(device, subject)
	if !ok {
		return nil, nil
	}
	raw, err := f.KV.Get(ctx, shelf.record())
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look kept posts up: %w", err)
	}
	return f.readShelf(shelf, raw)
}

// TakePost returns the post that token names, if it was sent to this very host and target, and takes it out of the
// store in one atomic step, for the caller to send: of two calls one gets it, the other [ErrNotKept].
func (f *Flow) TakePost(ctx context.Context, subject, token, host, target string, client Client) (*Post, error) {
	shelf, ok := shelfOf(client.Device, subject)
	if !ok {
		return nil, ErrNotKept
	}
	posts, err := f.KeptPosts(ctx, subject, client.Device)
	if err != nil {
		return nil, err
	}
	i := indexKept(posts, token)
	if i < 0 || posts[i].Host != host || posts[i].Target != target {
		return nil, ErrNotKept
	}
	kept := posts[i]
	// The body first: where it cannot be read, the post stays.
	body, err := f.keptBody(ctx, shelf, kept)
	if err != nil {
		return nil, err
	}
	if err := f.removeKept(ctx, shelf, token); err != nil {
		return nil, err
	}
	// What is not deleted now opens for nobody any more and expires.
	_ = f.KV.Delete(ctx, kept.records()...)
	f.Trail.Record(ctx, audit.Event{Kind: audit.FormSent, Subject: subject, Address: client.Address})
	return &Post{Host: kept.Host, Target: kept.Target, ContentType: kept.ContentType, Referer: kept.Referer, Body: body}, nil
}

// DropPost forgets a kept post of this person and browser, or returns [ErrNotKept].
func (f *Flow) DropPost(ctx context.Context, subject, token string, client Client) error {
	shelf, ok := shelfOf(client.Device, subject)
	if !ok {
		return ErrNotKept
	}
	posts, err := f.KeptPosts(ctx, subject, client.Device)
	if err != nil {
		return err
	}
	i := indexKept(posts, token)
	if i < 0 {
		return ErrNotKept
	}
	if err := f.removeKept(ctx, shelf, token); err != nil {
		return err
	}
	f.Trail.Record(ctx, audit.Event{Kind: audit.FormDropped, Subject: subject, Address: client.Address})
	return f.KV.Delete(ctx, posts[i].records()...)
}

// shelf is where the posts of one browser are kept, and whose they are.
type shelf struct{ owner, name string }

// shelfOf finds the shelf from the person, and not from what the browser says of them: what was kept for somebody
// else would not even unseal.
func shelfOf(device []byte, subject string) (shelf, bool) {
	name, own := deviceOf(device, subject)
	owner := sha256.Sum256([]byte(subject))
	return shelf{owner: string(owner[:deviceOwner]), name: name}, own
}

func (s shelf) record() string { return "kept/" + s.name }

const shelfField = "kept posts"

// readShelf opens a list and leaves out what is over. A list that no key opens any more holds nothing that could
// be sent.
func (f *Flow) readShelf(s shelf, raw []byte) ([]KeptPost, error) {
	if raw == nil {
		return nil, nil
	}
	plain, err := f.Keys.Open(raw, s.owner, shelfField)
	if errors.Is(err, seal.ErrUnsealable) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var posts []KeptPost
	if err := json.Unmarshal(plain, &posts); err != nil {
		return nil, fmt.Errorf("read kept posts: %w", err)
	}
	now := f.Now().Unix()
	return slices.DeleteFunc(posts, func(k KeptPost) bool { return k.EndsAt <= now }), nil
}

// changeShelf changes a list in one atomic step.
func (f *Flow) changeShelf(ctx context.Context, s shelf, change func([]KeptPost) ([]KeptPost, error)) error {
	return f.KV.Update(ctx, s.record(), func(raw []byte) ([]byte, time.Duration, error) {
		posts, err := f.readShelf(s, raw)
		if err == nil {
			posts, err = change(posts)
		}
		if err != nil || len(posts) == 0 {
			return nil, 0, err
		}
		plain, err := json.Marshal(posts)
		if err != nil {
			return nil, 0, fmt.Errorf("write kept posts: %w", err)
		}
		return f.Keys.Seal(plain, s.owner, shelfField), KeptFor, nil
	})
}

// removeKept takes one post off a list, or returns [ErrNotKept] where somebody else was first.
func (f *Flow) removeKept(ctx context.Context, s shelf, token string) error {
	return f.changeShelf(ctx, s, func(posts []KeptPost) ([]KeptPost, error) {
		i := indexKept(posts, token)
		if i < 0 {
			return nil, ErrNotKept
		}
		return slices.Delete(posts, i, i+1), nil
	})
}

func indexKept(posts []KeptPost, token string) int {
	return slices.IndexFunc(posts, func(k KeptPost) bool { return k.Token == token })
}

// keptBody puts the pieces of a body together. One that is gone was taken or dropped meanwhile.
func (f *Flow) keptBody(ctx context.Context, s shelf, kept KeptPost) ([]byte, error) {
	body := make([]byte, 0, kept.Size)
	for i, record := range kept.records() {
		sealed, err := f.KV.Get(ctx, record)
		if errors.Is(err, store.ErrNotFound) {
			return nil, ErrNotKept
		}
		if err != nil {
			return nil, fmt.Errorf("read a kept post: %w", err)
		}
		piece, err := f.Keys.Open(sealed, s.owner, kept.field(i))
		if err != nil {
			return nil, fmt.Errorf("read a kept post: %w", err)
		}
		body = append(body, piece...)
	}
	return body, nil
}

// record is the key of one piece of the body. The store knows only a digest of the token.
func (k KeptPost) record(piece int) string {
	sum := sha256.Sum256([]byte(k.Token))
	return "keptbody/" + base64.RawURLEncoding.EncodeToString(sum[:]) + "/" + strconv.Itoa(piece)
}

func (k KeptPost) records() []string {
	var all []string
	for i := range (k.Size + keptPiece - 1) / keptPiece {
		all = append(all, k.record(i))
	}
	return all
}

// field binds a sealed piece to its post and its place in it.
func (k KeptPost) field(piece int) string { return "kept body " + k.Token + " " + strconv.Itoa(piece) }
