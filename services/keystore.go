package services

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Keystore is a certificate for 127.0.0.1 and its key, as servers of Java read
// them. They are as old as the call that made them, and of no use elsewhere.
type Keystore struct {
	Path string // of the store, PKCS12
	CA   string // path of the certificate, PEM: what clients trust
}

// keystorePassword guards nothing: it is a test's key.
const keystorePassword = "lake-test"

// NewKeystore makes one in a folder, by Java's keytool.
func NewKeystore(ctx context.Context, folder string) (*Keystore, error) {
	keytool, err := tool("keytool", "openjdk-17-jre-headless")
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	k := &Keystore{filepath.Join(folder, "server.p12"), filepath.Join(folder, "ca.pem")}
	store := []string{"-keystore", k.Path, "-storetype", "PKCS12", "-storepass", keystorePassword, "-alias", "server"}
	for _, args := range [][]string{
		{"-genkeypair", "-keyalg", "EC", "-groupname", "secp256r1", "-dname", "CN=lake", "-ext", "san=ip:127.0.0.1", "-ext", "bc=ca:true", "-validity", "2"},
		{"-exportcert", "-rfc", "-file", k.CA},
	} {
		if _, err := output(ctx, identity{}, folder, nil, append(append([]string{keytool}, args...), store...)...); err != nil {
			return nil, fmt.Errorf("make a keystore: %w", err)
		}
	}
	return k, nil
}

// metastore makes a Hive Metastore speak TLS.
func (k *Keystore) metastore() map[string]string {
	if k == nil {
		return nil
	}
	return map[string]string{
		"metastore.use.SSL":           "true",
		"metastore.keystore.path":     k.Path,
		"metastore.keystore.password": keystorePassword,
		"metastore.keystore.type":     "PKCS12",
	}
}

// hiveServer2 makes HiveServer2 speak TLS.
func (k *Keystore) hiveServer2() map[string]string {
	if k == nil {
		return nil
	}
	return map[string]string{
		"hive.server2.use.SSL":           "true",
		"hive.server2.keystore.path":     k.Path,
		"hive.server2.keystore.password": keystorePassword,
		"hive.server2.keystore.type":     "PKCS12",
	}
}
