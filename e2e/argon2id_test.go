package e2e

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/argon2"
)

// argon2idOpens checks a password against a PHC string of argon2id, which must cost at least what OWASP asks for.
func argon2idOpens(ts *testscript.TestScript, phc, password string) bool {
	parts := strings.Split(phc, "$")
	if len(parts) != 6 || parts[2] != "v=19" {
		ts.Fatalf("%q is no PHC string of argon2id, version 19", phc)
	}
	var memory, passes uint32
	var lanes uint8
	_, err := fmt.Sscanf(parts[3], "m=%d,t=%d,p=%d", &memory, &passes, &lanes)
	ts.Check(err)
	if memory < 19456 || passes < 2 {
		ts.Fatalf("%s is cheaper than m=19456,t=2", parts[3])
	}
	salt, err := base64.RawStdEncoding.DecodeString(parts[4])
	ts.Check(err)
	key, err := base64.RawStdEncoding.DecodeString(parts[5])
	ts.Check(err)
	return bytes.Equal(key, argon2.IDKey([]byte(password), salt, passes, memory, lanes, uint32(len(key))))
}
