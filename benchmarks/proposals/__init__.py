"""What the proposed regions find, miss and invent, on phantoms harder than the reference one and on a real study."""
