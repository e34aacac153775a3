package proxy

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"sallyport/authflow/session"
)

// Policy is how much assurance a request needs. Policies are ordered by strictness; the zero Policy is none of
// them and lets nothing through.
type Policy int

// The policies, from the laxest to the strictest.
const (
	Bypass    Policy = iota + 1 // forwarded for anybody; no session is looked up
	OneFactor                   // forwarded for anybody who is signed in
	TwoFactor                   // forwarded for whoever gave a second factor in this session
	Deny                        // never forwarded
)

var errNoPolicy = errors.New("no policy: give it deny, bypass, one_factor or two_factor")

var policyNames = map[Policy]string{Bypass: "bypass", OneFactor: "one_factor", TwoFactor: "two_factor", Deny: "deny"}

// ParsePolicy reads a policy as the configuration spells it.
func ParsePolicy(name string) (Policy, error) {
	for p, n := range policyNames {
		if n == name {
			return p, nil
		}
	}
	return 0, fmt.Errorf("policy %q is not known: use deny, bypass, one_factor or two_factor", name)
}

// String gives the spelling that [ParsePolicy] reads.
func (p Policy) String() string {
	if name, ok := policyNames[p]; ok {
		return name
	}
	return fmt.Sprintf("policy(%d)", int(p))
}

// Rule is one exception to an upstream's policy. It applies to a request that meets every condition given
// (Paths, Methods, Networks); the first rule that applies decides. Groups is no condition: it says who is let
// through once the rule applies, and where it is empty the upstream's groups hold.
type Rule struct {
	Paths    []string       // as a browser shows them, decoded: exact, or a prefix where the last character is *; none: every path
	Methods  []string       // upper case; GET stands for HEAD too; none: every method
	Networks []netip.Prefix // of the client's address; none: every address
	Groups   []string       // any of these; none: the upstream's
	Policy   Policy
	Where    string // where the rule was written, e.g. "config.yaml:31"; for errors and logs
}

// demand is what a request must come with: the policy's assurance, and one group out of each list. The zero
// demand is the neutral element of [demand.and].
type demand struct {
	policy Policy
	groups [][]string
	where  string // the strictest rule's or upstream's
}

func newDemand(policy Policy, groups []string, where string) demand {
	d := demand{policy: policy, where: where}
	if len(groups) > 0 && policy != Bypass { // bypass asks nobody who they are, so it cannot ask for a group
		d.groups = [][]string{slices.Clone(groups)}
	}
	return d
}

// and is met by whatever meets both.
func (d demand) and(other demand) demand {
	if len(d.groups) > 0 && len(other.groups) > 0 {
		other.groups = slices.Concat(d.groups, other.groups)
	} else if len(d.groups) > 0 {
		other.groups = d.groups
	}
	if d.policy > other.policy {
		other.policy, other.where = d.policy, d.where
	}
	return other
}

// decision is the answer to "may this request pass?".
type decision int

const (
	forbidden   decision = iota // whoever they are, not like this; also what is not decided
	needsSignIn                 // more assurance is wanted; the sign-in flow knows which step comes next
	allowed
)

// decide holds an identity, nil for nobody, against the demand. It is a pure function. Groups are looked at
// last, so that only somebody with the assurance asked for learns that they are in the wrong ones.
func (d demand) decide(id *session.Identity) decision {
	switch d.policy {
	case Bypass:
		return allowed
	case OneFactor:
		if id == nil {
			return needsSignIn
		}
	case TwoFactor:
		if !id.TwoFactor() {
			return needsSignIn
		}
	default:
		return forbidden
	}
	for _, anyOf := range d.groups {
		if !id.InAnyGroup(anyOf) {
			return forbidden
		}
	}
	return allowed
}

// errNoLonger says that somebody may not have what they have under way any more.
var errNoLonger = errors.New("the person may not have this any more")

// still is nil while id meets the demand.
func (d demand) still(id *session.Identity) error {
	if d.decide(id) != allowed {
		return errNoLonger
	}
	return nil
}

// rule is a Rule made ready for matching.
type rule struct {
	paths    []pattern
	methods  []string
	networks []netip.Prefix
	demand   demand
}

func newRule(r Rule, upstreamGroups []string) (rule, error) {
	if _, ok := policyNames[r.Policy]; !ok {
		return rule{}, errNoPolicy
	}
	groups := r.Groups
	if len(groups) == 0 {
		groups = upstreamGroups
	}
	out := rule{methods: slices.Clone(r.Methods), networks: slices.Clone(r.Networks), demand: newDemand(r.Policy, groups, r.Where)}
	if slices.Contains(out.methods, "GET") {
		out.methods = append(out.methods, "HEAD")
	}
	for _, text := range r.Paths {
		p, err := newPattern(text)
		if err != nil {
			return rule{}, err
		}
		out.paths = append(out.paths, p)
	}
	return out, nil
}

// match says how well the rule's conditions fit. A path fits at best as well as its closest pattern. Paths come first, since
// most rules are for others.
func (r *rule) match(q *question) likeness {
	best := same
	if len(r.paths) > 0 {
		best = unlike
		for i := range r.paths {
			best = max(best, r.paths[i].match(&q.path))
		}
	}
	if best == unlike || len(r.methods) > 0 && !slices.Contains(r.methods, q.method) || len(r.networks) > 0 && !inAny(r.networks, q.client) {
		return unlike
	}
	return best
}

// catchAll says whether no request gets past the rule.
func (r *rule) catchAll() bool {
	return len(r.paths) == 0 && len(r.methods) == 0 && len(r.networks) == 0
}

// demand finds what the route asks of a request: what the first rule that applies says, else what the route
// says. Rules before it that apply only to a spelling which some servers take for the same path (other letter
// case, a slash more or less) tighten the demand, and never loosen it.
func (rt *route) demand(q *question) demand {
	var d demand
	for i := range rt.rules {
		switch r := &rt.rules[i]; r.match(q) {
		case same:
			return d.and(r.demand)
		case alike:
			d = d.and(r.demand)
		}
	}
	return d.and(rt.fallback)
}

// demandsTwoFactor says whether somebody in these groups can meet a rule that asks for two factors.
func (rt *route) demandsTwoFactor(id *session.Identity) bool {
	asks := func(d demand) bool {
		return d.policy == TwoFactor && (len(d.groups) == 0 || id.InAnyGroup(d.groups[0]))
	}
	for i := range rt.rules {
		if asks(rt.rules[i].demand) {
			return true
		}
		if rt.rules[i].catchAll() {
			return false
		}
	}
	return asks(rt.fallback)
}
