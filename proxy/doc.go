// Package proxy decides on a request and forwards it. It does not sign people in, draws no page, and knows
// neither the store nor the configuration file: who is asking, and what a person sees instead of the upstream,
// come through the functions and the interface in [Options].
//
// The way of a request, each step in the file of its name:
//
//	front        methods, targets and hosts that no handler should see are refused
//	forwarded    who is asking, and by which origin: the peer, or what a trusted proxy says
//	route        host and path choose the upstream
//	path         one canonical spelling of the path, judged and forwarded alike
//	access       what the upstream's rules ask for, and whether the identity meets it
//	crossorigin  whether the app lets a script of another origin make the request
//	identity     headers that a client must not send come off, the identity goes on
//	appsignin    the person is made known to the app, and signed in to it once more where it has forgotten them
//	cookies      the gateway's own cookies come off, in both directions
//	forwardauth  the same decision for a front proxy that forwards the request itself
//	upstream     httputil.ReverseProxy, and what becomes of its errors
//	trailer      the trailers of a request that mean no harm
//	transport    the connections to upstreams: TCP, TLS, HTTP/2, Unix sockets
//	exchange     plain HTTP/1.1 without a body, in the goroutine that asks; plainconn and idleconns are its connections
//	vigil        a request under way comes to an end with its session, and when nothing passes over it any more; vigils has their turns
//	home         addresses and cookies of the app become the browser's, and the other way round
//	signout      the app's own sign-out ends the gateway's session too
//	guard        a script that keeps the session goes into pages, where the upstream is to have it
//
// What the gateway asks of an upstream itself, to sign somebody in there, goes the same way by way of direct.
package proxy
