package session

import "strings"

// fragments are what browsers write into their User-Agent header, the longer before what it begins with. Each stands
// in a record as one byte: of the 110 to 130 bytes of a browser some 20 are left, which is a third of a session's room in
// the store. They are part of the record's version: a changed list reads other people's browsers out of old records.
var fragments = [...]string{
	") AppleWebKit/537.36 (KHTML, like Gecko) Chrome/",
	") AppleWebKit/537.36 (KHTML, like Gecko) ",
	") AppleWebKit/605.1.15 (KHTML, like Gecko) Version/",
	") AppleWebKit/605.1.15 (KHTML, like Gecko) ",
	") AppleWebKit/",
	" (KHTML, like Gecko) ",
	") Gecko/20100101 Firefox/",
	"Mozilla/5.0 (Windows NT 10.0; Win64; x64",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15",
	"Mozilla/5.0 (Macintosh; Intel Mac OS X ",
	"Mozilla/5.0 (iPhone; CPU iPhone OS ",
	"Mozilla/5.0 (iPad; CPU OS ",
	"Mozilla/5.0 (Linux; Android 10; K",
	"Mozilla/5.0 (Linux; Android ",
	"Mozilla/5.0 (X11; Linux x86_64",
	"Mozilla/5.0 (X11; Ubuntu; Linux x86_64",
	"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0",
	"Mozilla/5.0 (compatible; ",
	"Mozilla/5.0 (",
	"Windows NT ",
	"; Win64; x64",
	"; WOW64",
	" like Mac OS X",
	".0.0.0 Mobile Safari/537.36",
	".0.0.0 Safari/537.36",
	" Mobile Safari/537.36",
	" Safari/537.36",
	" Safari/605.1.15",
	" Mobile/15E148 Safari/604.1",
	" Mobile/15E148",
	" Safari/604.1",
	"; rv:",
	".0.0.0",
	" Edg/",
	" EdgA/",
	" OPR/",
	" Vivaldi/",
	" YaBrowser/",
	"SamsungBrowser/",
	"HeadlessChrome/",
	"Chrome/",
	"CriOS/",
	"FxiOS/",
	"Firefox/",
	"Version/",
}

// escape stands before a byte that is not ASCII; escape+1 and what follows stand for the fragments.
const escape = 0x80

func packUserAgent(text string) []byte {
	packed := make([]byte, 0, len(text))
next:
	for len(text) > 0 {
		for i, fragment := range fragments {
			if strings.HasPrefix(text, fragment) {
				packed, text = append(packed, escape+1+byte(i)), text[len(fragment):]
				continue next
			}
		}
		if text[0] >= escape {
			packed = append(packed, escape)
		}
		packed, text = append(packed, text[0]), text[1:]
	}
	return packed
}

// unpackUserAgent is the way back; ok is false for what packUserAgent does not write of any user agent of at most
// maxUserAgent bytes.
func unpackUserAgent(packed []byte) (text string, ok bool) {
	room := make([]byte, 0, maxUserAgent)
	for i := 0; i < len(packed) && len(room) <= maxUserAgent; i++ {
		switch b := packed[i]; {
		case b < escape:
			room = append(room, b)
		case b > escape:
			if int(b-escape) > len(fragments) {
				return "", false
			}
			room = append(room, fragments[b-escape-1]...)
		default:
			if i++; i == len(packed) || packed[i] < escape {
				return "", false
			}
			room = append(room, packed[i])
		}
	}
	return string(room), len(room) <= maxUserAgent
}

// clip cuts s to at most n bytes, at a character's end.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
