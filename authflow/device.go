package authflow

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"time"
)

// DeviceLifetime is how long a browser is remembered as one that a person has signed in with.
const DeviceLifetime = 365 * 24 * time.Hour

const (
	deviceOwner = 16 // bytes of the subject's digest
	deviceID    = 16 // random bytes
)

// newDevice makes what the device cookie of a browser carries: whose it is and a random name. It proves
// nothing but that the person has signed in here before.
func newDevice(subject string) []byte {
	owner := sha256.Sum256([]byte(subject))
	device := make([]byte, deviceOwner+deviceID)
	copy(device, owner[:deviceOwner])
	rand.Read(device[deviceOwner:]) // never fails (crypto/rand)
	return device
}

// deviceOf returns the name of the device, where it is one that subject has signed in with.
func deviceOf(device []byte, subject string) (string, bool) {
	owner := sha256.Sum256([]byte(subject))
	if subject == "" || len(device) != deviceOwner+deviceID || string(device[:deviceOwner]) != string(owner[:deviceOwner]) {
		return "", false
	}
	return base64.RawURLEncoding.EncodeToString(device[deviceOwner:]), true
}
