"""The node types, one file a family.

It owns the list of all; a new class is added here and nowhere else.
"""

from __future__ import annotations

from functools import lru_cache

from pipecatapp.workflow.node import NodeRegistry
from pipecatapp.workflow.nodes.edge_nodes import InputNode, NowNode, OutputNode
from pipecatapp.workflow.nodes.expert_nodes import RouteToExpertNode
from pipecatapp.workflow.nodes.flow_nodes import BranchNode, ClassifyIntentNode, LoopNode
from pipecatapp.workflow.nodes.llm_nodes import LlmNode
from pipecatapp.workflow.nodes.memory_nodes import ExtractFactsNode, MemoryRecallNode, MemorySaveNode
from pipecatapp.workflow.nodes.text_nodes import PromptNode, RegexMatchNode, TemplateNode
from pipecatapp.workflow.nodes.tool_nodes import ToolArgumentsNode, ToolCallNode

NODE_CLASSES = (
    BranchNode,
    ClassifyIntentNode,
    ExtractFactsNode,
    InputNode,
    LlmNode,
    LoopNode,
    MemoryRecallNode,
    MemorySaveNode,
    NowNode,
    OutputNode,
    PromptNode,
    RegexMatchNode,
    RouteToExpertNode,
    TemplateNode,
    ToolArgumentsNode,
    ToolCallNode,
)


@lru_cache(maxsize=1)
def default_registry() -> NodeRegistry:
    """Return every node type there is."""
    return NodeRegistry(NODE_CLASSES)
