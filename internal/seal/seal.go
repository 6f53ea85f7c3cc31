// Package seal encrypts what the database must not hold in the clear: service
// URIs, custom headers, signing secrets, passwords that have to be shown again.
//
// It owns the data key: a file beside the data, or the environment. Whoever
// holds a copy of the database alone can read none of it; whoever holds the data
// folder holds the key too. Invariant: a sealed value opens only with the same
// key and for the same purpose it was sealed for, so a row cannot be moved into
// another's place.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// KeySize is the length of a data key, in bytes.
const KeySize = 32

// Key is the data key. The zero Key is not usable.
type Key struct {
	aead   cipher.AEAD
	secret []byte
}

// New makes a Key of KeySize secret bytes.
func New(secret []byte) (*Key, error) {
	if len(secret) != KeySize {
		return nil, fmt.Errorf("the data key has %d bytes: it must be %d, in base64", len(secret), KeySize)
	}
	block, err := aes.NewCipher(secret)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Key{aead, secret}, nil
}

// Parse reads a key from base64 text, as DOCKBELL_DATA_KEY holds it.
func Parse(text string) (*Key, error) {
	secret, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil {
		return nil, errors.New("the data key is not base64")
	}
	return New(secret)
}

// LoadFile reads the key in path, making a new one, readable by its owner only,
// if there is no file.
func LoadFile(path string) (*Key, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret := make([]byte, KeySize)
		rand.Read(secret)
		text = []byte(base64.StdEncoding.EncodeToString(secret) + "\n")
		err = writeDurably(path, text)
	}
	if err != nil {
		return nil, fmt.Errorf("data key: %w", err)
	}
	k, err := Parse(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return k, nil
}

// writeDurably makes the file whole or not at all, and must not lose it:
// everything sealed with the key would be lost too.
func writeDurably(path string, text []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	folder, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

// Seal encrypts plain for a purpose, for example "webhook 12". The result is
// longer by 28 bytes.
func (k *Key) Seal(plain []byte, purpose string) []byte {
	return k.aead.Seal(nil, nil, plain, []byte(purpose))
}

// Open decrypts what Seal made for the same purpose. It fails when the key or
// the purpose is another, or the value was changed.
func (k *Key) Open(sealed []byte, purpose string) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, sealed, []byte(purpose))
	if err != nil {
		return nil, fmt.Errorf("the stored secret of %s cannot be read: the data key is not the one it was written with (DOCKBELL_DATA_KEY, or the key file of the data folder)", purpose)
	}
	return plain, nil
}

// Derive returns KeySize bytes for another use, such as signing upload ids; the
// same for the same purpose, and telling nothing of the key.
func (k *Key) Derive(purpose string) []byte {
	out, err := hkdf.Key(sha256.New, k.secret, nil, purpose, KeySize)
	if err != nil {
		panic("seal: " + err.Error()) // only for absurd lengths
	}
	return out
}
