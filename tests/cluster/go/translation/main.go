// Command translation answers questions about in-tree volumes with upstream's own library, one JSON object a line.
//
// It is for comparison with Mooring's crate of the same name: tests/cluster/tests/translation asks both.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"

	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	library "k8s.io/csi-translation-lib"
	"k8s.io/klog/v2"
	former "mooring.invalid/former-csi-translation-lib/plugins"
)

// question asks for one operation. Which of the objects is given depends on it.
type question struct {
	Operation string
	Plugin    string
	Class     *storage.StorageClass
	Inline    *core.Volume
	Namespace string
	Volume    *core.PersistentVolume
	Driver    string
	Handle    string
	NodeID    string
}

// answer has what became of the object, or says why nothing did.
type answer struct {
	Result any    `json:"result,omitempty"`
	Error  string `json:"error,omitempty"`
	Panic  string `json:"panic,omitempty"`
}

const rbd = "kubernetes.io/rbd"

var (
	current = library.New()
	ceph    = former.NewRBDCSITranslator()
	silent  = klog.LoggerWithName(klog.Background(), "translation")
)

// ask gives the question to the library, or for rbd to the last release that had it.
func ask(q question) (any, error) {
	isRBD := q.Plugin == rbd
	switch q.Operation {
	case "class":
		if isRBD {
			return ceph.TranslateInTreeStorageClassToCSI(q.Class)
		}
		return current.TranslateInTreeStorageClassToCSI(silent, q.Plugin, q.Class)
	case "inline":
		if isRBD {
			return cephInline(q)
		}
		return current.TranslateInTreeInlineVolumeToCSI(silent, q.Inline, q.Namespace)
	case "to_csi":
		if isRBD {
			return ceph.TranslateInTreePVToCSI(q.Volume)
		}
		return current.TranslateInTreePVToCSI(silent, q.Volume)
	case "to_in_tree":
		if isRBD {
			return ceph.TranslateCSIPVToInTree(q.Volume)
		}
		return current.TranslateCSIPVToInTree(q.Volume)
	case "repair":
		if isRBD {
			return ceph.RepairVolumeHandle(q.Handle, q.NodeID)
		}
		return current.RepairVolumeHandle(q.Driver, q.Handle, q.NodeID)
	case "names":
		driver, err := current.GetCSINameFromInTreeName(q.Plugin)
		if isRBD {
			driver, err = ceph.GetCSIPluginName(), nil
		}
		return driver, err
	}
	return nil, fmt.Errorf("unknown operation %q", q.Operation)
}

// cephInline adds what the library itself adds to every plugin's answer.
func cephInline(q question) (any, error) {
	volume, err := ceph.TranslateInTreeInlineVolumeToCSI(q.Inline, q.Namespace)
	if err == nil && volume.Spec.VolumeMode == nil {
		mode := core.PersistentVolumeFilesystem
		volume.Spec.VolumeMode = &mode
	}
	return volume, err
}

// reply answers one line. A panic of the library is an answer too.
func reply(line []byte) (a answer) {
	defer func() {
		if cause := recover(); cause != nil {
			a = answer{Panic: fmt.Sprint(cause)}
		}
	}()
	var q question
	if err := json.Unmarshal(line, &q); err != nil {
		return answer{Error: "cannot read the question: " + err.Error()}
	}
	result, err := ask(q)
	if err != nil {
		return answer{Error: err.Error()}
	}
	return answer{Result: result}
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println("csi-translation-lib", version)
		return
	}
	in, out := bufio.NewReader(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if len(line) > 0 {
			if err := out.Encode(reply(line)); err != nil {
				os.Exit(1)
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			os.Exit(1)
		}
	}
}

// version is set when the program is built.
var version = "unknown"
