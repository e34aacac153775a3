package main

import (
	"encoding/xml"
	"fmt"
	"strings"
)

// bar is one case of the plot.
type bar struct {
	label string
	ratio float64
	limit float64 // 0: none
}

// Sizes of the plot, in pixels.
const (
	plotWidth = 900
	labelEnd  = 390 // where the bars begin
	barsEnd   = 820 // where the longest may end
	lineStep  = 24
	plotHead  = 64
)

const plotStyle = `<style>
text { font: 13px system-ui, sans-serif; fill: #1f2328; }
.title { font-size: 16px; font-weight: 600; }
.note { fill: #57606a; }
.bar { fill: #2f6f4f; } .below { fill: #b35900; } .other { fill: #6e7781; }
.limit { stroke: #1f2328; stroke-width: 2; }
.one { stroke: #8c959f; stroke-dasharray: 3 4; }
@media (prefers-color-scheme: dark) {
	text { fill: #e6edf3; } .note { fill: #9da7b1; }
	.bar { fill: #4ea37a; } .below { fill: #e08a3c; } .other { fill: #8b949e; }
	.limit { stroke: #e6edf3; } .one { stroke: #6e7681; }
}
</style>
`

// plot draws the bars as SVG, with the ratio beside each and a mark at its limit. It has no background of its own, and
// takes its colours from what the reader prefers, light or dark.
func plot(bars []bar) string {
	longest := 1.1
	for _, b := range bars {
		longest = max(longest, b.ratio)
	}
	at := func(ratio float64) float64 { return labelEnd + ratio/longest*(barsEnd-labelEnd) }
	height := plotHead + lineStep*len(bars) + 16

	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" role="img" aria-labelledby="t">`+"\n",
		plotWidth, height, plotWidth, height)
	s.WriteString(`<title id="t">Requests a second as a share of the bare proxy's</title>` + "\n" + plotStyle)
	s.WriteString(`<text class="title" x="16" y="24">Requests a second, as a share of the bare proxy's</text>` + "\n")
	s.WriteString(`<text class="note" x="16" y="44">Policy two_factor, with a session. The upright mark is the limit of a case: green reaches it, orange does not; grey has none.</text>` + "\n")
	fmt.Fprintf(&s, `<line class="one" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`+"\n", at(1), at(1), plotHead-8, height-12)
	for i, b := range bars {
		y := plotHead + lineStep*i
		class := "bar"
		switch {
		case b.limit == 0:
			class = "other"
		case !atLeast(b.ratio, b.limit):
			class = "below"
		}
		fmt.Fprintf(&s, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labelEnd-10, y+13, escape(b.label))
		fmt.Fprintf(&s, `<rect class="%s" x="%d" y="%d" width="%.1f" height="16" rx="2"/>`, class, labelEnd, y, at(b.ratio)-labelEnd)
		if b.limit > 0 {
			fmt.Fprintf(&s, `<line class="limit" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/>`, at(b.limit), at(b.limit), y-2, y+18)
		}
		fmt.Fprintf(&s, `<text x="%.1f" y="%d">%.2f</text>`+"\n", max(at(b.ratio), at(b.limit))+8, y+13, b.ratio)
	}
	s.WriteString("</svg>\n")
	return s.String()
}

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s)) // a strings.Builder takes everything
	return b.String()
}
