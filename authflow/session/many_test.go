package session

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store/redisstore"
	"sallyport/authflow/store/redistest"
)

const redisPrefix = "sallyport:"

// onRedis returns a keeper on a server of its own, and a client to look past it.
func onRedis(t testing.TB) (*Keeper, *redis.Client) {
	t.Helper()
	server := redistest.Start(t)
	kv, err := redisstore.Open(t.Context(), redisstore.Options{Addresses: []string{server.Addr}, KeyPrefix: redisPrefix})
	if err != nil {
		t.Fatal(err)
	}
	client := redis.NewClient(&redis.Options{Addr: server.Addr, Protocol: 2})
	t.Cleanup(func() { kv.Close(); client.Close() })
	return &Keeper{KV: kv, Now: time.Now}, client
}

// usual is a session as most are: two factors, a browser, either family of addresses.
func usual(i int, browser string) Session {
	now := time.Now().Unix()
	address := fmt.Sprintf("203.0.113.%d", i%250+1)
	if i%2 == 1 {
		address = fmt.Sprintf("2001:db8:85a3:1234:5678:8a2e:370:%x", 0x1000+i%0x1000)
	}
	return Session{
		Subject: "file:alice.liddell", Stamp: "q1Wm7_cPZ0aB-9xY", AMR: []string{"pwd", "otp"},
		SignedInAt: now, SeenAt: now, SecondFactorAt: now + int64(i%30), EndsAt: now + 43_200, IdleFor: 3600, Address: address, UserAgent: browser,
	}
}

// memory is what one key takes, by the server's own account.
func memory(t testing.TB, client *redis.Client, name string) int64 {
	t.Helper()
	n, err := client.MemoryUsage(t.Context(), redisPrefix+name, 0).Result()
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestASessionTakesLessThan400BytesOfRedisWithItsShareOfTheIndex(t *testing.T) {
	k, client := onRedis(t)
	most := int64(0)
	for i, browser := range browsers[:4] { // 110 to 130 bytes
		for sessions := 1; sessions <= 2; sessions++ {
			total := int64(0)
			var used []Use
			for n := range sessions {
				token, s := NewToken(), usual(i+n, browser)
				s.Subject = fmt.Sprintf("file:alice.lidd%d.%d", i, sessions)
				started, err := k.Start(t.Context(), token, s)
				if err != nil {
					t.Fatal(err)
				}
				used = append(used, Use{Key: started.Key, SeenAt: started.SeenAt + 1, EndsAt: started.EndsAt, IdleFor: started.IdleFor})
			}
			if gone, err := k.Renew(t.Context(), used); err != nil || gone != nil { // which must not let them grow
				t.Fatal(gone, err)
			}
			for _, u := range used {
				total += memory(t, client, recordName(u.Key))
			}
			total += memory(t, client, indexName(fmt.Sprintf("file:alice.lidd%d.%d", i, sessions)))
			most = max(most, total/int64(sessions))
			if total/int64(sessions) >= 400 {
				t.Errorf("%d sessions with %s take %d bytes each", sessions, browser, total/int64(sessions))
			}
		}
	}
	t.Logf("the largest takes %d bytes", most)
}

// fill writes the sessions of so many people, one each for half of them and two for the others, past the keeper, which
// would take minutes.
func fill(b *testing.B, client *redis.Client, people int) (sessions int) {
	b.Helper()
	k := &Keeper{Now: time.Now}
	pipe := client.Pipeline()
	for i := range people {
		subject := fmt.Sprintf("file:person.%07d", i)
		var entries []indexEntry
		for range 1 + i%2 {
			s := usual(sessions, browsers[i%4])
			s.Subject = subject
			key := NewToken().Key()
			pipe.Set(b.Context(), redisPrefix+recordName(key), append([]byte{'v'}, encodeRecord(&s)...), time.Hour+rand.N(time.Hour))
			entries = append(entries, indexEntry{Key: key, EndsAt: s.EndsAt})
			sessions++
		}
		raw, life := k.encodeIndex(entries)
		pipe.Set(b.Context(), redisPrefix+indexName(subject), append([]byte{'v'}, raw...), life)
		if i%2000 == 1999 || i == people-1 {
			if _, err := pipe.Exec(b.Context()); err != nil {
				b.Fatal(err)
			}
		}
	}
	return sessions
}

// usedMemory is what the server has allocated.
func usedMemory(b *testing.B, client *redis.Client) float64 {
	b.Helper()
	info, err := client.InfoMap(b.Context(), "memory").Result()
	if err != nil {
		b.Fatal(err)
	}
	var n float64
	if _, err := fmt.Sscan(info["Memory"]["used_memory"], &n); err != nil {
		b.Fatal(err)
	}
	return n
}

// BenchmarkAmongOthers lists and ends the two sessions of one person while few or a million others live, and writes
// the times of last use of 512. It also says how much of the server's memory, all told, each of the others takes.
func BenchmarkAmongOthers(b *testing.B) {
	for _, people := range []int{1000, 667_000} {
		k, client := onRedis(b)
		before := usedMemory(b, client)
		others := fill(b, client, people)
		each := (usedMemory(b, client) - before) / float64(others)
		start := func(b *testing.B) *Session {
			b.Helper()
			s, err := k.Start(b.Context(), NewToken(), usual(1, browsers[0]))
			if err != nil {
				b.Fatal(err)
			}
			return s
		}
		run := func(name string, prepare, work func(b *testing.B)) {
			b.Run(fmt.Sprintf("%s/%d others", name, others), func(b *testing.B) {
				for b.Loop() {
					b.StopTimer()
					prepare(b)
					b.StartTimer()
					work(b)
				}
				b.ReportMetric(each, "B-of-memory/session")
			})
		}
		two := func(b *testing.B) { start(b); start(b) }
		run("revoke", two, func(b *testing.B) {
			if err := k.RevokeAll(b.Context(), "file:alice.liddell", ""); err != nil {
				b.Fatal(err)
			}
		})
		two(b)
		run("list", func(*testing.B) {}, func(b *testing.B) {
			if list, err := k.List(b.Context(), "file:alice.liddell"); err != nil || len(list) != 2 {
				b.Fatal(len(list), err)
			}
		})
		used := make([]Use, 512)
		for i := range used {
			s := usual(i, browsers[0])
			s.Subject = fmt.Sprint("file:", i)
			started, err := k.Start(b.Context(), NewToken(), s)
			if err != nil {
				b.Fatal(err)
			}
			used[i] = use(started, k.Now())
		}
		run("renew 512", func(*testing.B) {}, func(b *testing.B) {
			if _, err := k.Renew(b.Context(), used); err != nil {
				b.Fatal(err)
			}
		})
	}
}
