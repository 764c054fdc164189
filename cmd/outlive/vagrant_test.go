package main_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"outlive/lab/feature"
	"outlive/lab/labtest"
)

// recorder stands in for Vagrant: it takes any configuration and writes down what
// it was told, as one JSON object.
const recorder = `
require 'json'
$said = Hash.new { |h, k| h[k] = [] }
class Recorder
  def initialize(path) = @path = path
  def method_missing(name, *args, **named, &block)
    path = [@path, name.to_s.chomp('=')].reject(&:empty?).join('.')
    $said[path] << (args + (named.empty? ? [] : [named])) unless args.empty? && named.empty?
    inner = Recorder.new(path)
    block&.call(inner)
    inner
  end
  def respond_to_missing?(*) = true
end
module Vagrant
  def self.configure(version) = yield(Recorder.new(''))
end
load ARGV[0]
puts JSON.generate($said)
`

// TestVagrantfile reads the Vagrantfile as Vagrant does, and runs what it
// provisions with: the same script that make uses. On a machine that has
// everything the script installs nothing.
func TestVagrantfile(t *testing.T) {
	ruby, err := exec.LookPath("ruby")
	if err != nil {
		labtest.SkipUnsupported(t, &feature.Unsupported{Feature: "reading a Vagrantfile", Needs: "the package ruby", Remedy: "apt-get install ruby", Err: err})
	}
	out, err := exec.Command(ruby, "-e", recorder, "../../Vagrantfile").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var said map[string][][]any
	if err := json.Unmarshal(out, &said); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if len(said["vm.box"]) != 1 {
		t.Error("the Vagrantfile names no box")
	}
	folder := said["vm.synced_folder"]
	if len(folder) != 1 || len(folder[0]) < 2 || folder[0][1] != "/home/vagrant/outlive" {
		t.Errorf("the checkout is not at /home/vagrant/outlive: %v", folder)
	}
	provision := said["vm.provision"]
	if len(provision) != 1 || len(provision[0]) < 2 {
		t.Fatalf("the machine is provisioned with %v, want one shell script", provision)
	}
	options, _ := provision[0][1].(map[string]any)
	script, _ := options["inline"].(string)
	if provision[0][0] != "shell" || !strings.Contains(script, "/home/vagrant/outlive/.ci/install test\n") {
		t.Fatalf("the machine is not provisioned with .ci/install test: %v", provision[0])
	}
	if out, err := exec.Command("bash", "-n", "-c", script).CombinedOutput(); err != nil {
		t.Errorf("the provisioning script is no shell script: %v\n%s", err, out)
	}
	for _, want := range []string{"run", "test"} {
		if out, err := exec.Command("../../.ci/install", want).CombinedOutput(); err != nil {
			t.Errorf(".ci/install %s: %v\n%s", want, err, out)
		}
	}
	if out, err := exec.Command("../../.ci/install", "everything").CombinedOutput(); err == nil {
		t.Errorf(".ci/install takes any argument: %s", out)
	}
}
