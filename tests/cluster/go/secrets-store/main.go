// A provider for secrets-store-csi-driver that has one secret: the module's own mock behind a socket.
package main

import (
	"fmt"
	"log"
	"os"

	"sigs.k8s.io/secrets-store-csi-driver/provider/fake"
	"sigs.k8s.io/secrets-store-csi-driver/provider/v1alpha1"
)

var version = "unknown"

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("secrets-provider", version)
		return
	}
	socket := os.Args[1]
	_ = os.Remove(socket)
	server, err := fake.NewMocKCSIProviderServer(socket)
	if err != nil {
		log.Fatal(err)
	}
	server.SetObjects(map[string]string{"secret/password": "v1"})
	server.SetFiles([]*v1alpha1.File{{Path: "password", Mode: 0o400, Contents: []byte("open sesame")}})
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	select {}
}
