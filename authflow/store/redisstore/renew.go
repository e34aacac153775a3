package redisstore

import (
	"context"
	"fmt"

	"github.com/redis/go-redis/v9"

	"sallyport/authflow/store"
)

// renewAtOnce is how many renewals go out in one round trip. The script takes about a millisecond for so many, in which
// Redis does nothing else.
const renewAtOnce = 512

// renewScript overwrites the head of each value, ARGV[1] for the first key, and gives it ARGV[2] milliseconds to live
// (0: endless), and so on with two arguments for each key. It answers with one character for each key: 1 is done, 0
// that nothing stands there, x that the head does not fit what does. It writes the whole value, and so needs no right
// that the other scripts do not need.
var renewScript = newScript(`
local answer = {}
for i, key in ipairs(KEYS) do
  local head, life, found = ARGV[2 * i - 1], ARGV[2 * i], redis.call('GET', key)
  if not found then
    answer[i] = '0'
  elseif string.sub(found, 1, 1) ~= 'v' or #found <= #head then
    answer[i] = 'x'
  else
    local next = 'v' .. head .. string.sub(found, #head + 2)
    if life == '0' then
      redis.call('SET', key, next)
    else
      redis.call('SET', key, next, 'PX', life)
    end
    answer[i] = '1'
  end
end
return table.concat(answer)`)

// Renew implements [store.KV], and takes [renewAtOnce] keys in one step each; in a Cluster, where they lie on several
// servers, each key in a step of its own, and as many in one pipeline.
func (s *Store) Renew(ctx context.Context, renewals []store.Renewal) (missing []string, err error) {
	if err := store.CheckRenewals(renewals); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	renew := s.renewTogether
	if _, cluster := s.client.(*redis.ClusterClient); cluster {
		renew = s.renewEach
	}
	var refused error
	for len(renewals) > 0 {
		some := renewals[:min(renewAtOnce, len(renewals))]
		renewals = renewals[len(some):]
		answer, err := renew(ctx, some)
		if err == nil && len(answer) != len(some) {
			err = fmt.Errorf("the script answered %d of %d keys", len(answer), len(some))
		}
		if err != nil {
			return nil, fault("renew", err)
		}
		for i, r := range some {
			switch answer[i] {
			case '1':
			case '0':
				missing = append(missing, r.Key)
			default:
				refused = fmt.Errorf("redis renew: %w: a counter, or a value shorter than the head of %d bytes", errKind, len(r.Head))
			}
		}
	}
	return missing, refused
}

func renewArgs(r store.Renewal) []any {
	life := "0"
	if r.TTL > 0 {
		life = milliseconds(r.TTL)
	}
	return []any{r.Head, life}
}

func (s *Store) renewTogether(ctx context.Context, renewals []store.Renewal) (string, error) {
	keys, args := make([]string, 0, len(renewals)), make([]any, 0, 2*len(renewals))
	for _, r := range renewals {
		keys, args = append(keys, r.Key), append(args, renewArgs(r)...)
	}
	reply, err := s.runBy(s.do, ctx, renewScript, keys, args)
	answer, _ := reply.(string)
	return answer, err
}

// renewEach asks once more, with the text of the script, for the keys of those servers that do not know its digest.
func (s *Store) renewEach(ctx context.Context, renewals []store.Renewal) (string, error) {
	answer, asked := make([]byte, len(renewals)), make([]int, len(renewals))
	for i := range asked {
		asked[i] = i
	}
	for _, withText := range []bool{false, true} {
		pipe, cmds := s.client.Pipeline(), make([]*redis.Cmd, len(asked))
		for n, i := range asked {
			cmds[n] = redis.NewCmd(ctx, s.call(renewScript, withText, []string{renewals[i].Key}, renewArgs(renewals[i]))...)
			_ = pipe.Process(ctx, once{cmds[n]}) // queues it
		}
		_, _ = pipe.Exec(ctx) // each command has its own error
		var unknown []int
		for n, i := range asked {
			text, err := cmds[n].Text()
			switch {
			case redis.HasErrorPrefix(err, "NOSCRIPT") && !withText:
				unknown = append(unknown, i)
			case err != nil:
				return "", err
			case len(text) != 1:
				return "", fmt.Errorf("the script answered %d characters for one key", len(text))
			default:
				answer[i] = text[0]
			}
		}
		if asked = unknown; len(asked) == 0 {
			break
		}
	}
	return string(answer), nil
}
