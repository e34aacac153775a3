package proxy

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"

	"sallyport/authflow/session"
)

// Explanation is what the gateway would do with a request, and why.
type Explanation struct {
	Upstream string      // its name; empty where none takes the request
	Where    string      // the rule, or the upstream without one, that decides, e.g. "config.yaml:31"
	Policy   Policy      // 0 where no upstream takes the request
	Decision string      // in the words of the log
	Status   int         // 0: forwarded, or sent to sign in
	URL      *url.URL    // what the upstream would be asked for; nil where the request is not forwarded
	Header   http.Header // what the upstream would get; nil likewise
	SignsOut bool        // an answer that does not refuse would end the gateway's session
	SignIn   string      // how the person is made known to the app; empty where it is not done
}

// Explain says what would become of r if id (nil: nobody) made it. It asks no store and no upstream.
func (g *Gateway) Explain(r *http.Request, id *session.Identity) Explanation {
	host, ok := parseAuthority(r.Host)
	if !ok {
		return refused(refusal{status: http.StatusBadRequest, why: "the host is malformed"})
	}
	from, err := g.origin(r, host)
	if err != nil {
		return refused(refusal{status: http.StatusBadRequest, why: err.Error()})
	}
	v, no := g.judge(question{host: host, secure: from.secure, method: r.Method, client: from.client}, rawPath(r.URL))
	if no != nil {
		return refused(*no)
	}
	e := Explanation{Upstream: v.route.name, Where: v.demand.where, Policy: v.demand.policy}
	if v.demand.policy == Bypass {
		id = nil
	}
	decision := v.demand.decide(id)
	e.Decision = v.demand.words(decision, id)
	if decision == forbidden {
		e.Status = http.StatusForbidden
	}
	if decision != allowed {
		return e
	}
	if v.route.target == nil {
		e.Status, e.Decision = http.StatusNotFound, "let through, but the upstream has no url: only forward-auth requests are answered"
		return e
	}
	p := &passage{gateway: g, verdict: v, origin: from, host: host, id: id, in: r}
	if id != nil && v.route.signIn != nil {
		e.SignIn = v.route.signIn.Describe()
		p.credentials = unsaid(v.route.signIn.Headers())
	}
	if p.lacksSlash() {
		e.Status, e.Decision = http.StatusFound, "redirected to "+v.path.escaped+"/: the upstream does not see its path, and its links need the slash"
		return e
	}
	out := r.Clone(r.Context())
	p.rewrite(&httputil.ProxyRequest{In: r, Out: out})
	p.lines.moveTo(out.Header)
	e.URL, e.Header = out.URL, out.Header
	e.Header.Set("Host", out.Host)
	if e.Header[headerAssertion] != nil {
		e.Header.Set(headerAssertion, "(signed)")
	}
	e.SignsOut = id != nil && v.signsOut(r)
	return e
}

// unsaid stands for somebody's credentials, which may be none.
func unsaid(names []string) http.Header {
	h := http.Header{}
	for _, name := range names {
		h.Set(name, "(the credentials for the app, if there are any)")
	}
	return h
}

func refused(no refusal) Explanation {
	return Explanation{Decision: fmt.Sprintf("refused with %d: %s", no.status, no.why), Status: no.status}
}

// words says what was decided and why, for the log and for [Gateway.Explain].
func (d demand) words(made decision, id *session.Identity) string {
	asked := fmt.Sprintf("%s asks for %s", d.where, d.policy)
	switch {
	case made == allowed:
		return "forwarded: " + asked + d.groupWords()
	case made == needsSignIn && id == nil:
		return "sent to sign in: " + asked + ", and nobody is signed in"
	case made == needsSignIn:
		return "sent to the second factor: " + asked + ", and " + id.UsernameAt("") + " gave one"
	case d.policy == Deny:
		return "refused: " + d.where + " lets nobody through"
	case d.policy < Bypass || d.policy > Deny:
		return "refused: no policy applies"
	}
	return fmt.Sprintf("refused: %s%s, and %s is in %s", asked, d.groupWords(), id.UsernameAt(""), listOr(id.Groups, "no group"))
}

// groupWords names the groups that are asked for, one list after the other.
func (d demand) groupWords() string {
	var b strings.Builder
	for _, anyOf := range d.groups {
		b.WriteString(" and for " + listOr(anyOf, ""))
	}
	return b.String()
}

func listOr(names []string, none string) string {
	if len(names) == 0 {
		return none
	}
	return "group " + strings.Join(names, " or ")
}
