"""The limits of the admission gate, all in one frozen value; the API may name them to users."""

from dataclasses import dataclass, field

from service.sandbox import SandboxLimits


@dataclass(frozen=True, kw_only=True)
class AdmissionLimits:
    """How much of everything a model may have.

    Attributes:
        file_bytes: Size of the file.
        messages: Protobuf messages (nodes, tensors, attributes, ...) in the file.
        fields: Protobuf fields in the file.
        message_depth: Messages inside messages; 40 is about 12 bodies inside bodies.
        packed_bytes: A list of numbers stored as variable-length integers.
        nodes: Nodes after local functions are expanded, those of bodies included.
        call_depth: Functions calling functions.
        rank: Dimensions of a tensor.
        tensor_bytes: A stored tensor, or a declared input.
        activation_bytes: A tensor computed inside the network, free axes counted as 1.
        activations_bytes: All tensors computed inside the network together.
        name_length: Characters of a name.
        node_inputs: Inputs of one node.
        node_attributes: Attributes of one node.
        metadata_bytes: Keys and values of the model's metadata.
        sandbox: What the child process may use.
    """

    file_bytes: int = 512 * 1024**2
    messages: int = 400_000
    fields: int = 4_000_000
    message_depth: int = 40
    packed_bytes: int = 1024**2
    nodes: int = 20_000
    call_depth: int = 100
    rank: int = 8
    tensor_bytes: int = 2 * 1024**3 - 1
    activation_bytes: int = 1024**3
    activations_bytes: int = 8 * 1024**3
    name_length: int = 512
    node_inputs: int = 1_024
    node_attributes: int = 64
    metadata_bytes: int = 64 * 1024
    sandbox: SandboxLimits = field(default_factory=SandboxLimits)
